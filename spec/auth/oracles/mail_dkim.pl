#!/usr/bin/perl
# Mail::DKIM as an oracle: see spec/auth/oracles.lua for the jobs that it reads and the answers that it writes.
# Usage: mail_dkim.pl DIRECTORY <jobs >answers
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::Signer;
use Mail::DKIM::PrivateKey;
use Net::DNS;

my $directory = $ARGV[0];
my %zone;
open my $lines, '<', "$directory/zone" or die;
while (<$lines>) { chomp; my ($name, $text) = split /\t/; $zone{$name} = $text; }

{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name) = @_;
        $@ = 'NOERROR';
        my $text = $zone{$name} or return;
        return Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => [ $text =~ /(.{1,255})/gs ]);
    };
}

sub verify {
    my ($message) = @_;
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT($message);
    $verifier->CLOSE;
    return $verifier->result eq 'pass' ? "pass\n" : 'fail ' . $verifier->result_detail . "\n";
}

sub sign {
    my ($header_canon, $body_canon, $key, $message) = @_;
    my $signer = Mail::DKIM::Signer->new(Algorithm => 'rsa-sha256', Method => "$header_canon/$body_canon",
        Domain => 'example.org', Selector => $key, KeyFile => "$directory/$key.pem");
    $signer->PRINT($message);
    $signer->CLOSE;
    my $field = $signer->signature->as_string . "\r\n";
    return length($field) . "\n" . $field;
}

binmode STDIN;
binmode STDOUT;
while (my $line = <STDIN>) {
    my @words = split ' ', $line;
    read STDIN, my $message, $words[-1];
    my $answer = eval { $words[0] eq 'verify' ? verify($message) : sign(@words[1 .. 3], $message) };
    if (!defined $answer) { my $why = $@; $why =~ s/\n/ /g; $answer = "fail $why\n"; }
    print $answer;
}
