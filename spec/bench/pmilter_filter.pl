# pmilter_filter.pl -- "count recipients, add X-Rcpt-Count", as usually written in Perl on Sendmail::PMilter.
# usage: pmilter_filter.pl SPEC WORK...      the words are those of libmilter_filter.c
use strict;
use warnings;
use Sendmail::PMilter qw(:all);

my ($spec, @words) = @ARGV;
my %sizes = map { split /=/ } grep { /=/ } @words;
my $new_body = "x" x ($sizes{body} || 0);

my %handlers = (
    envrcpt => sub { my $ctx = shift; my $s = $ctx->getpriv || {}; $s->{recipients}++; $ctx->setpriv($s); SMFIS_CONTINUE },
    eom => sub {
        my $ctx = shift;
        my $s = $ctx->getpriv || {};
        $ctx->addheader("X-Rcpt-Count", $s->{recipients});
        $ctx->replacebody($new_body) if length $new_body;
        $s->{recipients} = 0;
        SMFIS_CONTINUE;
    },
    close => sub { my $ctx = shift; $ctx->setpriv(undef); SMFIS_CONTINUE },
);
if (grep { $_ eq "every_handler" } @words) {
    my $go_on = sub { SMFIS_CONTINUE };
    %handlers = (%handlers, connect => $go_on, helo => $go_on, eoh => $go_on,
        envfrom => sub { my $ctx = shift; $ctx->setpriv({ recipients => 0, seen => 0 }); SMFIS_CONTINUE },
        header => sub { my ($ctx, $name, $value) = @_; $ctx->getpriv->{seen} += length($name) + length($value); SMFIS_CONTINUE },
        body => sub { my ($ctx, $chunk) = @_; $ctx->getpriv->{seen} += length($chunk); SMFIS_CONTINUE },
        abort => sub { my $ctx = shift; $ctx->setpriv({ recipients => 0 }); SMFIS_CONTINUE });
}

my $milter = Sendmail::PMilter->new;
$milter->setconn($spec);
$milter->register("bench", \%handlers, SMFIF_ADDHDRS | SMFIF_CHGBODY);
$milter->set_dispatcher(Sendmail::PMilter::prefork_dispatcher(max_children => 12, max_requests_per_child => 1000000))
    if Sendmail::PMilter->can("prefork_dispatcher");
$milter->main;
