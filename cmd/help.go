package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// newHelpCommand stands in for cobra's, which takes what it does not know for
// a question about everything.
func newHelpCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND…]",
		Short: "Explain a command",
		Long:  `Explain a command, as its --help does.`,
		Example: `  tokenctl help generate refresh
  tokenctl help admin`,
		// A config file that is wrong is no reason to be silent.
		PersistentPreRunE: func(*cobra.Command, []string) error {
			a.parsed = true
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil {
				return token.Errorf(token.ErrUsage, "%w", err)
			}
			if len(rest) > 0 {
				return unknownCommand(about, rest[0])
			}
			return about.Help()
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (list []string, _ cobra.ShellCompDirective) {
			about, rest, err := c.Root().Find(args)
			if err == nil && len(rest) == 0 {
				for _, sub := range about.Commands() {
					if sub.IsAvailableCommand() {
						list = append(list, described(sub.Name(), sub.Short))
					}
				}
			}
			return list, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// unknownCommand is the error for a word that names no command below c.
func unknownCommand(c *cobra.Command, word string) error {
	err := token.Errorf(token.ErrUsage, "unknown command %q for %q", word, c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(word); len(near) > 0 && near[0] != word {
		return err.WithHint("did you mean %s", near[0])
	}
	return err.WithHint("%s --help shows what there is", c.CommandPath())
}
