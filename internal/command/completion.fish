# Completes crier in fish. For this shell: crier completion fish | source
# For all of yours: crier completion fish > ~/.config/fish/completions/crier.fish

function __crier_complete
	set -l words (commandline -opc)
	set -l current (commandline -ct)
	set -l found ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
	if test "$found[1]" = ":files"
		set -l before (string match -r -- '^--[^=]*=' "$current")
		printf "$before%s\n" (__fish_complete_path (string replace -r -- '^--[^=]*=' '' "$current"))
		return
	end
	printf '%s\n' $found
end

complete -c crier -f -a '(__crier_complete)'
