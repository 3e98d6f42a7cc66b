package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

const bashCompletion = `# bash completion for stockade
_stockade() {
  local cur="${COMP_WORDS[COMP_CWORD]}" words
  case " ${COMP_WORDS[*]:0:COMP_CWORD} " in *" -- "*) COMPREPLY=(); return ;; esac
  words=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
  [[ "$cur" == -* ]] && words+=("$cur")
  COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _stockade stockade
`

const zshCompletion = `#compdef stockade
_stockade() {
  local -a options
  local cur="${words[CURRENT]}"
  if (( ${words[(I)--]} )); then _normal; return; fi
  if [[ "$cur" == -* ]]; then
    options=("${(@f)$("${(@)words[1,CURRENT]}" --generate-bash-completion 2>/dev/null)}")
  else
    options=("${(@f)$("${(@)words[1,CURRENT-1]}" --generate-bash-completion 2>/dev/null)}")
  fi
  if [[ -n "${options[1]}" ]]; then _describe values options; else _files; fi
}
compdef _stockade stockade
`

func completionVerb() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a shell's completion script",
		UsageText: "stockade completion bash|zsh|fish",
		Description: examples(
			`source <(stockade completion bash)`,
			`stockade completion zsh > "${fpath[1]}/_stockade"`,
			`stockade completion fish > ~/.config/fish/completions/stockade.fish`,
		),
		Action: completionAction,
	}
}

func completionAction(c *cli.Context) error {
	var text string
	var err error
	switch shell := c.Args().First(); {
	case c.NArg() != 1:
		return usage(c, "completion: no shell named: nothing is printed; use bash, zsh or fish")
	case shell == "bash":
		text = bashCompletion
	case shell == "zsh":
		text = zshCompletion
	case shell == "fish":
		text, err = c.App.ToFishCompletion()
	default:
		return usage(c, "shell %q: unknown: nothing is printed; use bash, zsh or fish", shell)
	}
	if err != nil {
		return fmt.Errorf("completion: %w: nothing is printed; use another shell", err)
	}
	_, err = fmt.Fprint(c.App.Writer, text)
	return err
}
