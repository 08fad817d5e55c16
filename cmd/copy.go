package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newCopyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "copy NAME",
		Short: "Put a saved refresh token on the clipboard",
		Long: `Put a refresh token that "tokenctl generate refresh NAME --save" has kept on
this machine on the clipboard. It is cleared after a while if it still holds
the token. Nothing is written to standard output.`,
		Example:           `  tokenctl copy ci-deploy`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeSaved,
		RunE: func(c *cobra.Command, args []string) error {
			s, _, err := a.savedToken(c.Context(), args[0])
			if err != nil {
				return err
			}
			mode, err := a.settings.ClipboardMode()
			if err != nil {
				return err
			}
			if mode == terminal.ClipboardOff {
				return token.Errorf(token.ErrUsage, "the clipboard is turned off by the setting clipboard").WithHint("TOKENCTL_CLIPBOARD=auto tokenctl copy %s", args[0])
			}
			return a.copyOrFail(c.Context(), s)
		},
	}
}
