package cmd

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// shells are those that we complete for, with the names of the files in the
// folder completions.
var shells = []struct {
	name, file, install string
	write               func(root *cobra.Command, w io.Writer) error
}{
	{
		"bash", "tokenctl.bash", "source <(tokenctl completion bash)",
		func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
	},
	{
		"zsh", "_tokenctl", `tokenctl completion zsh > "${fpath[1]}/_tokenctl"`,
		func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
	},
	{
		"fish", "tokenctl.fish", "tokenctl completion fish | source",
		func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
	},
	{
		"powershell", "tokenctl.ps1", "tokenctl completion powershell | Out-String | Invoke-Expression",
		func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) },
	},
}

func newCompletionCommand(a *app) *cobra.Command {
	var names []string
	long := "Print the completion script of a shell. To use it in the present shell:\n"
	for _, s := range shells {
		names = append(names, s.name)
		long += fmt.Sprintf("\n  %-11s %s", s.name, s.install)
	}
	return &cobra.Command{
		Use:       "completion " + strings.Join(names, "|"),
		Short:     "Print a completion script",
		Long:      long,
		Example:   `  source <(tokenctl completion bash)`,
		ValidArgs: names,
		Args:      exactly("SHELL"),
		RunE: func(c *cobra.Command, args []string) error {
			for _, s := range shells {
				if s.name == args[0] {
					return written(s.write(c.Root(), a.stdout))
				}
			}
			return token.Errorf(token.ErrUsage, "no completion for %q", args[0]).WithHint("shells are %s", strings.Join(names, ", "))
		},
	}
}
