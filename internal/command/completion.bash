# Completes crier in bash. For this shell: source <(crier completion bash)
# For all of yours: crier completion bash > ~/.local/share/bash-completion/completions/crier

_crier() {
	local line=${COMP_LINE:0:COMP_POINT} found words current before
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	current=${words[${#words[@]}-1]}
	COMPREPLY=()
	found=$("${words[0]/#\~\//$HOME/}" __complete "${words[@]:1}" 2>/dev/null) || return 0
	if [[ $found == :files ]]; then
		current=${current#--*=}
		compopt -o filenames 2>/dev/null
		while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
		return 0
	fi
	# bash replaces what stands behind the last character at which it breaks words.
	before=${current%"${current##*["$COMP_WORDBREAKS"]}"}
	while IFS=$'\t' read -r line _; do
		[[ $line ]] && COMPREPLY+=("${line#"$before"}")
	done <<<"$found"
}
complete -F _crier crier
