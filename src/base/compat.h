/*
 * compat.h
 *		Differences between PostgreSQL 15 and later: the only home of
 *		PG_VERSION_NUM.
 */
#ifndef RECSYS_COMPAT_H
#define RECSYS_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "recsys needs PostgreSQL 15 or later"
#endif

#endif							/* RECSYS_COMPAT_H */
