# Service files. Included by the top Makefile; an existing configuration is left alone.
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
CONFDIR     ?= /etc/moonmilter

.PHONY: install-systemd uninstall-systemd
install-systemd:
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(TMPFILESDIR) $(DESTDIR)$(CONFDIR)/scripts
	sed 's,@PREFIX@,$(PREFIX),' docs/systemd/moonmilter.service > $(DESTDIR)$(UNITDIR)/moonmilter.service
	chmod 644 $(DESTDIR)$(UNITDIR)/moonmilter.service
	sed 's,@PREFIX@,$(PREFIX),' docs/systemd/moonmilter-page.service > $(DESTDIR)$(UNITDIR)/moonmilter-page.service
	chmod 644 $(DESTDIR)$(UNITDIR)/moonmilter-page.service
	install -m 644 docs/systemd/moonmilter.socket $(DESTDIR)$(UNITDIR)/moonmilter.socket
	install -m 644 docs/systemd/sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/moonmilter.conf
	install -m 644 docs/systemd/tmpfiles.conf $(DESTDIR)$(TMPFILESDIR)/moonmilter.conf
	[ -e $(DESTDIR)$(CONFDIR)/moonmilter.conf ] || \
		install -m 644 docs/systemd/moonmilter.conf $(DESTDIR)$(CONFDIR)/moonmilter.conf

uninstall-systemd:
	rm -f $(DESTDIR)$(UNITDIR)/moonmilter.service $(DESTDIR)$(UNITDIR)/moonmilter-page.service \
		$(DESTDIR)$(UNITDIR)/moonmilter.socket \
		$(DESTDIR)$(SYSUSERSDIR)/moonmilter.conf $(DESTDIR)$(TMPFILESDIR)/moonmilter.conf
