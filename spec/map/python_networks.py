"""Reads lines "net TEXT" and "ip TEXT" from stdin, and writes for each what Python's ipaddress makes of it: the network or
the address, or "-". Lines "set TEXT VALUE" add to a set; "get IP" writes the value of the longest network around the
address. An IPv4 address or network mapped into IPv6 counts as IPv4."""
import ipaddress
import sys


def address(text):
    ip = ipaddress.ip_address(text)
    return getattr(ip, "ipv4_mapped", None) or ip


def network(text):
    net = ipaddress.ip_network(text)
    mapped = getattr(net.network_address, "ipv4_mapped", None)
    if mapped and net.prefixlen >= 96:
        return ipaddress.ip_network((int(mapped), net.prefixlen - 96))
    return net


def shown(net):
    return str(net.network_address) if net.prefixlen == net.max_prefixlen else str(net)


entries = []
for line in sys.stdin:
    kind, *words = line.rstrip("\n").split(" ")
    try:
        if kind == "net":
            print(shown(network(words[0])))
        elif kind == "ip":
            print(address(words[0]))
        elif kind == "set":
            entries.append((network(words[0]), words[1]))
        elif kind == "get":
            ip = address(words[0])
            around = [e for e in entries if e[0].version == ip.version and ip in e[0]]
            print(max(around, key=lambda e: e[0].prefixlen)[1] if around else "-")
    except ValueError:
        print("-")
