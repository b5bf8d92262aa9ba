/*
 * postgres.h
 *		Stands in for the server's header, so that a plain program can compile
 *		the few files of src that need no more of the server than this.
 *		An error ends the program.
 */
#ifndef RECSYS_STUB_POSTGRES_H
#define RECSYS_STUB_POSTGRES_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t uint8;
typedef uint16_t uint16;
typedef int32_t int32;
typedef int64_t int64;
typedef uint32_t uint32;
typedef uint64_t uint64;
typedef size_t Size;

#define UINT64CONST(x) UINT64_C(x)
#define FLEXIBLE_ARRAY_MEMBER
#define Assert(condition) assert(condition)

#define Min(x, y) ((x) < (y) ? (x) : (y))
#define Max(x, y) ((x) > (y) ? (x) : (y))

#define palloc(size) malloc(size)
#define palloc0(size) calloc(1, size)
#define palloc_extended(size, flags) malloc(size)
#define MCXT_ALLOC_HUGE 0x01
#define pstrdup(string) strdup(string)
#define pfree(pointer) free(pointer)

#define ERRCODE_UNDEFINED_FILE 0
#define ERRCODE_UNDEFINED_FUNCTION 0
#define ERRCODE_OUT_OF_MEMORY 0
#define ereport(level, fields) ((void) fields, exit(3))

static inline int
errcode(int code)
{
	return code;
}

static inline int
errmsg(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return 0;
}

#define errhint errmsg

#endif							/* RECSYS_STUB_POSTGRES_H */
