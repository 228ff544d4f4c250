/* program/dkim_key.h -- `moonmilter dkim-key`: makes a key, shows the record that publishes it, and asks whether DNS
 * has it. */
#ifndef MM_PROGRAM_DKIM_KEY_H
#define MM_PROGRAM_DKIM_KEY_H

int mm_command_dkim_key(int argc, char **argv);

#endif
