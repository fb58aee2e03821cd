/*
 * Allocations that fail on demand. Linked into a test program, it stands before malloc and its kin:
 *   failing_own.c   those of moeclip's own code (the linker's --wrap), so that it works under the sanitizers;
 *   failing_all.c   those of every library in the process (interposed), which needs glibc and no sanitizer.
 */
#ifndef TESTS_FAULTS_FAILING_H
#define TESTS_FAULTS_FAILING_H

#include <stdbool.h>

/* Counting begins anew. Allocation number `at` (from 1; 0: none) fails; from_then_on: those after it too. */
void failing_begin(long at, bool from_then_on);
/* Nothing fails any more; how many allocations there were since the beginning, and how many of them failed. */
void failing_end(long *n_seen, long *n_failed);

/* While it is true, nothing is counted and nothing fails: for what the test itself does. */
void failing_hold(bool hold);

/* For the two files above: counts one, and says whether it fails. */
bool failing_now(void);

#endif
