/* doctor/command_doctor.h -- `moonmilter doctor`: can the MTA of this machine open our sockets, and do
 * its settings fit ours? */
#ifndef MM_DOCTOR_COMMAND_DOCTOR_H
#define MM_DOCTOR_COMMAND_DOCTOR_H

int mm_command_doctor(int argc, char **argv);   /* argv[0] is "doctor"; an exit code of sysexits.h */

#endif
