# Completion of moonmilter's commands and options for bash. The words come from --help, so they are always right.
_moonmilter()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
	local commands command words
	commands=$("$program" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
	command=run
	if [[ " ${commands//$'\n'/ } " == *" ${COMP_WORDS[1]} "* && $COMP_CWORD -gt 1 ]]; then command=${COMP_WORDS[1]}; fi
	case $command:$previous in
	*:-c | *:--config | *:--control) COMPREPLY=($(compgen -f -- "$word")); return ;;
	help:help) words="$commands config" ;;
	ctl:ctl) words=$("$program" ctl --help 2>/dev/null | sed -n 's/^  \([a-z]\{2,\}\) .*/\1/p') ;;
	esac
	if [[ $word == -* ]]; then
		words=$("$program" "$command" --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z_-]*' | tr -d ' ,')
	elif [[ $COMP_CWORD -eq 1 ]]; then
		words=$commands
	fi
	COMPREPLY=($(compgen -W "$words" -- "$word"))
	if [[ ${#COMPREPLY[@]} -eq 0 || -z ${words-} ]]; then COMPREPLY+=($(compgen -f -- "$word")); fi
}
complete -o filenames -F _moonmilter moonmilter
