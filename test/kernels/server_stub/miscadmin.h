/* Stands in for the server's header: counts the chances to interrupt. */
#ifndef RECSYS_STUB_MISCADMIN_H
#define RECSYS_STUB_MISCADMIN_H

static unsigned long stub_interrupt_checks __attribute__((unused)) = 0;

#define CHECK_FOR_INTERRUPTS() ((void) stub_interrupt_checks++)

#endif							/* RECSYS_STUB_MISCADMIN_H */
