#!/bin/sh -e
# sh spec/mail/readers/make.sh, from the top: asks other readers of mail what they see in each message of oddities.lua, and
# writes seen.lua; and GMime which parts the corpus of spec/mail has, for gmime.lua. No spec needs them. Debian's python3, python3-gi and gir1.2-gmime-3.0; npm's postal-mime, found from
# $NODE_DIR (default: here).
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
mkdir "$work/in"
luajit -e "package.path = '$here/?.lua;' .. package.path
for _, case in ipairs(require 'oddities'.all($SEED)) do
  local file = assert(io.open('$work/in/' .. case.name, 'wb'))
  file:write(case.message)
  file:close()
end"
/usr/bin/python3 "$here/python.py" "$work/in" > "$work/python"
/usr/bin/python3 "$here/gmime.py" "$work/in" > "$work/gmime"
(cd "${NODE_DIR:-.}" && node "$here/postal.mjs" "$work/in") > "$work/postal"
{
	echo "--- Made by make.sh: which readers find the program in which message of oddities.lua."
	echo "-- $(
		/usr/bin/python3 -c 'import sys; print("Python %d.%d" % sys.version_info[:2])'), GMime $(
		dpkg-query -W -f '${Version}' libgmime-3.0-0 | sed 's/+.*//'), postal-mime $(
		cd "${NODE_DIR:-.}" && node -p 'require("./node_modules/postal-mime/package.json").version')."
	echo "return {"
	for reader in python-compat32 python-default gmime postal-mime; do
		echo "  [\"$reader\"] = [["
		cat "$work/python" "$work/gmime" "$work/postal" | grep " $reader .*program" | cut -d' ' -f1 | sort | xargs -n 8 |
			sed 's/^/    /'
		echo "  ]],"
	done
	echo "}"
} > "$here/seen.lua"
mkdir "$work/corpus"
luajit -e "package.path = '$here/../?.lua;$here/../corpus/?.lua;' .. package.path
package.path = './lua/?.lua;./lua/?/init.lua;' .. package.path
package.cpath = './build/lua/?.so;' .. package.cpath
for name, message in pairs(require 'portrait'.corpus()) do
  local file = assert(io.open('$work/corpus/' .. name, 'wb'))
  file:write(message)
  file:close()
end"
{
	echo "--- Made by make.sh: the parts that GMime $(dpkg-query -W -f '${Version}' libgmime-3.0-0 | sed 's/+.*//') sees in the corpus."
	/usr/bin/python3 "$here/parts.py" "$work/corpus"
} > "$here/gmime.lua"
grep '!' "$work/python" "$work/gmime" "$work/postal" | head
[ -n "$KEEP" ] && echo "$work" || rm -r "$work"
