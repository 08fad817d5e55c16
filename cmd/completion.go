package cmd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

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

// newGenerateFilesCommand writes the files that are checked in: completion
// scripts and man pages.
func newGenerateFilesCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "__generate FOLDER",
		Hidden: true,
		Args:   exactly("FOLDER"),
		RunE:   func(c *cobra.Command, args []string) error { return generateFiles(c.Root(), args[0]) },
	}
}

func generateFiles(root *cobra.Command, folder string) error {
	man := filepath.Join(folder, "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	for _, s := range shells {
		f, err := os.Create(filepath.Join(folder, s.file))
		if err != nil {
			return err
		}
		if err := s.write(root, f); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(man, "*.1"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	root.DisableAutoGenTag = true
	// A fixed date: the same commands give the same pages.
	date := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return doc.GenManTree(root, &doc.GenManHeader{Title: "TOKENCTL", Section: "1", Source: "tokenctl", Manual: "tokenctl", Date: &date}, man)
}
