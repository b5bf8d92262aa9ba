/* Stands in for the server's header: counts the chances to interrupt. */
#ifndef RECSYS_STUB_MISCADMIN_H
#define RECSYS_STUB_MISCADMIN_H

/* One for the program, in whatever files include this. */
__attribute__((weak))
unsigned long stub_interrupt_checks = 0;

#define CHECK_FOR_INTERRUPTS() ((void) stub_interrupt_checks++)

#endif							/* RECSYS_STUB_MISCADMIN_H */
