/* ctl/command_shadow.h -- `ctl shadow`: what the scripts that come next would change, and the switch that takes them
 * out of use. */
#ifndef MM_CTL_COMMAND_SHADOW_H
#define MM_CTL_COMMAND_SHADOW_H

#include "ctl/client.h"

/* Returns the exit status. */
int mm_command_shadow(int argc, char **argv);
/* Prints how the shadow of a message differs, for `ctl explain`; nothing when it does not, or is not kept. */
void mm_shadow_explain(struct mm_ctl_query, const char *id, bool is_json);

#endif
