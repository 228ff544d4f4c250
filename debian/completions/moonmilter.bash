# Completion of moonmilter's commands and options for bash. The words come from --help, so they are always right.
_moonmilter_options()
{
	"$@" --help 2>/dev/null | sed -n '/^ *-[a-z-]/{s/^  *//;s/   *.*//;p}' |
		grep -oE -- '(^|[ ,])--?[a-z][a-z0-9_-]*' | tr -d ' ,'
}

_moonmilter()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
	local commands command words request requests i
	commands=$("$program" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
	command=run
	if [[ " ${commands//$'\n'/ } " == *" ${COMP_WORDS[1]} "* && $COMP_CWORD -gt 1 ]]; then command=${COMP_WORDS[1]}; fi
	if [[ $previous == -c || $previous == --config || $previous == --control ]]; then
		COMPREPLY=($(compgen -f -- "$word"))
		return
	fi
	if [[ $command == ctl ]]; then
		requests=$("$program" ctl --help 2>/dev/null | sed -n 's/^  \([a-z]\{2,\}\) .*/\1/p')
		for ((i = 2; i < COMP_CWORD; i++)); do
			if [[ ${COMP_WORDS[i - 1]} != -* && " ${requests//$'\n'/ } " == *" ${COMP_WORDS[i]} "* ]] ||
				[[ ${COMP_WORDS[i]} == top || ${COMP_WORDS[i]} == profile ]]; then request=${COMP_WORDS[i]}; fi
		done
		if [[ -z $request ]]; then words=$requests; fi
	elif [[ $command == help && $COMP_CWORD -eq 2 ]]; then
		words="$commands config"
	fi
	if [[ $word == -* ]]; then
		words=$(_moonmilter_options "$program" "$command" $request)
	elif [[ $COMP_CWORD -eq 1 ]]; then
		words=$commands
	fi
	COMPREPLY=($(compgen -W "$words" -- "$word"))
	if [[ $command != ctl && ( ${#COMPREPLY[@]} -eq 0 || -z ${words-} ) ]]; then
		COMPREPLY+=($(compgen -f -- "$word"))
	fi
}
complete -o filenames -F _moonmilter moonmilter
