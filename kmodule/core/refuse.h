/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Refusing an argument: an errno for the program, and a clause for the person who reads the log. */
#ifndef KML_REFUSE_H
#define KML_REFUSE_H

/* Gives `status`; `reason` may be NULL. */
static inline int kml_refuse(const char **reason, int status, const char *clause)
{
	if (reason)
		*reason = clause;
	return status;
}

#endif
