/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a decision is told of an operation, beside the actions that it asks for: one
 * word, how, for the verifier allows five arguments.
 *
 *   bit  0      the kind of the resource
 *   bits 1, 2   none: in a view (decide.h) they tell which path of a move is meant
 *   bits 3..7   flags
 *   bits 8..15  REFUSE: the boundary that is crossed
 *   bits 16, 17 LATE, FIRM */
#pragma once

#define BEFORE 8U     /* exec is not over: the executable is the one before */
#define MAY_HOLD 16U  /* what is asked may go on, to be confirmed */
#define MUST_HOLD 32U /* here it is confirmed */
#define IS_MAPPED 64U /* exec maps what it was allowed */
#define HOLD_FLAGS (MAY_HOLD | MUST_HOLD | IS_MAPPED)
#define SETS_ID 128U /* set_x_attr is about a set-user-ID or set-group-ID bit */

#define REFUSE(what) ((what) << 8) /* whatever policy says */

/* REFUSE_ONE is REFUSE for one of several: of constants the verifier would follow
 * each through the whole decision. */
#define REFUSE_ONE(what) REFUSE((what) + opaque)

#define LATE (1U << 16) /* the call need not fail by this; see late.h */
#define FIRM (1U << 17) /* what is denied is denied in audit mode, too */
