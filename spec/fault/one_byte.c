/* one_byte.c -- preloaded: sockets give and take one byte at a time, and nothing every other time. */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

static int is_refused(void)
{
	static _Thread_local unsigned turn;
	if (turn++ % 2 == 0)
		return 0;
	errno = EAGAIN;
	return 1;
}

ssize_t recv(int fd, void *to, size_t n, int flags)
{
	ssize_t (*real)(int, void *, size_t, int) = (ssize_t (*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
	return is_refused() ? -1 : real(fd, to, n > 1 ? 1 : n, flags);
}

ssize_t send(int fd, const void *from, size_t n, int flags)
{
	ssize_t (*real)(int, const void *, size_t, int) = (ssize_t (*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
	return is_refused() ? -1 : real(fd, from, n > 1 ? 1 : n, flags);
}
