package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminConnectionSecretCommand(a *app) *cobra.Command {
	var h handover
	c := &cobra.Command{
		Use:   "secret NAME",
		Short: "Make a new client secret",
		Long: `Make a new client secret for a connection whose clients authenticate with one,
in the place of the old one, which ends at once: this is asked before. It is
shown once and cannot be shown again.`,
		Example: `  tokenctl admin connection secret billing --yes --output-file client-secret.txt
  tokenctl admin connection secret billing -o json`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeConnections,
		RunE: func(c *cobra.Command, args []string) error {
			if err := readyToShow(a, &h, render.ClientSecrets()); err != nil {
				return err
			}
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			conn, err := s.Connection(c.Context(), args[0])
			if err != nil {
				return err
			}
			if !conn.SecretSince.IsZero() {
				question := fmt.Sprintf("the client secret of %s, made %s, ends at once: make a new one?", conn.Name, conn.SecretSince.Format(time.RFC3339))
				if err := a.confirm(question); err != nil {
					return err
				}
			}
			return a.newClientSecret(c.Context(), s, &h, conn.Name, "", nil)
		},
	}
	h.bind(c, "secret")
	return c
}

// newClientSecret makes a client secret and hands it over. If that fails, undo
// brings back what was before done, such as "added"; without undo the secret is
// one that nobody has, and that is said.
func (a *app) newClientSecret(ctx context.Context, s authority.Connections, h *handover, name, done string, undo func(token.Connection) error) error {
	conn, plain, err := s.RenewClientSecret(ctx, name)
	if err != nil && undo != nil {
		return fmt.Errorf("%w; until it has a client secret the connection refuses its clients: tokenctl admin connection secret %s makes one", err, name)
	}
	if err != nil {
		return err
	}
	issued := render.ClientSecret{Connection: conn, Secret: plain}
	return handing(func() error {
		return showNew(ctx, a, h, render.ClientSecrets(), issued)
	}, func() {
		if done != "" {
			a.say("%s the connection %s", done, name)
		}
		a.copySecret(ctx, h, plain)
	}, func(err error) error {
		if undo == nil {
			return fmt.Errorf("%w; nobody has the new client secret of %s, and the old one has ended: tokenctl admin connection secret %s makes another", err, name, name)
		}
		if back := undo(conn); back != nil {
			return token.Errorf(token.ErrCannotTell, "%w; and the connection %s could not be changed back: %w", err, name, back).
				WithHint("make another secret: tokenctl admin connection secret %s", name)
		}
		return fmt.Errorf("%w; the connection %s was not %s", err, name, done)
	})
}

// makesSecret says whether a change of a connection makes its first client
// secret, and sees to it that this could be shown.
func (f *connectionFlags) makesSecret(a *app, c *cobra.Command, conn *token.Connection) (bool, error) {
	if !c.Flags().Changed("auth-method") || !conn.Confidential() || !conn.SecretSince.IsZero() {
		if f.file != "" || f.copy != "" {
			return false, token.Errorf(token.ErrUsage, "no client secret is made that --output-file or --copy could take").
				WithHint("--auth-method client_secret_basic makes the first one, tokenctl admin connection secret %s another", conn.Name)
		}
		return false, nil
	}
	return true, readyToShow(a, &f.handover, render.ClientSecrets())
}
