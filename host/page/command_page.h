/* page/command_page.h -- `moonmilter page`. */
#ifndef MM_PAGE_COMMAND_PAGE_H
#define MM_PAGE_COMMAND_PAGE_H

/* Returns an exit status of sysexits.h. */
int mm_command_page(int argc, char **argv);

#endif
