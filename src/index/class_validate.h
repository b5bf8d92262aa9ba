/*
 * class_validate.h
 *		The check of an operator class, which all our access methods share.
 */
#ifndef RECSYS_CLASS_VALIDATE_H
#define RECSYS_CLASS_VALIDATE_H

/*
 * Whether a class orders by distances alone, or compares filter columns; an
 * INFO says what is wrong.
 */
extern bool class_validate(Oid opclass, const char *access_method);

#endif							/* RECSYS_CLASS_VALIDATE_H */
