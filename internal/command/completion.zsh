#compdef crier
# Completes crier in zsh. For this shell: source <(crier completion zsh)
# For all of yours: crier completion zsh > a file _crier in a folder of $fpath

_crier() {
	local -a found described
	local line value
	found=("${(@f)$("${words[1]/#\~\//$HOME/}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ $found[1] == :files ]]; then
		[[ $PREFIX == --*=* ]] && compset -P '*='
		_files
		return
	fi
	for line in $found; do
		value=${line%%$'\t'*}
		described+=("${value//:/\\:}:${line#*$'\t'}")
	done
	_describe -t values crier described
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
	_crier "$@"
else
	compdef _crier crier
fi
