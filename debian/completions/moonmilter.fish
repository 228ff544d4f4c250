# Completion of moonmilter's commands and options for fish. The words come from --help, so they are always right.
function __moonmilter_commands
	moonmilter --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\)  *\(.*\)/\1\t\2/p'
end

function __moonmilter_requests
	moonmilter ctl --help 2>/dev/null | sed -n 's/^  \([a-z]\{2,\}\) \([A-Z]*\)  *\(.*\)/\1\t\3/p'
end

# What is typed so far: the command, and the request of ctl.
function __moonmilter_typed
	set -l words (commandline -opc)
	set -l commands (__moonmilter_commands | string replace -r '\t.*' '')
	if not contains -- "$words[2]" $commands
		echo run
		return
	end
	echo $words[2]
	if test "$words[2]" = ctl
		set -l requests (__moonmilter_requests | string replace -r '\t.*' '')
		for word in $words[3..-1]
			if contains -- $word $requests
				echo $word
				return
			end
		end
	end
end

function __moonmilter_options
	moonmilter (__moonmilter_typed) --help 2>/dev/null | sed -n '/^ *-[a-z-]/{s/^  *//;s/   *.*//;p}' |
		grep -oE -- '(^|[ ,])--?[a-z][a-z0-9_-]*' | tr -d ' ,'
end

function __moonmilter_typed_is
	set -l typed (__moonmilter_typed)
	test "$typed" = "$argv"
end

complete -c moonmilter -n 'test (count (commandline -opc)) -eq 1' -a '(__moonmilter_commands)'
complete -c moonmilter -n '__moonmilter_typed_is help' -f -a '(__moonmilter_commands; echo config)'
complete -c moonmilter -n '__moonmilter_typed_is ctl' -f -a '(__moonmilter_requests)'
complete -c moonmilter -n 'string match -q -- "-*" (commandline -ct)' -f -a '(__moonmilter_options)'
