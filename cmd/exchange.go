package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

type exchangeOptions struct {
	handover
	in       secretInput
	roles    []string
	resource string
	rotated  string // the file for a new refresh token
}

func newExchangeCommand(a *app) *cobra.Command {
	var o exchangeOptions
	c := &cobra.Command{
		Use:   "exchange [-]",
		Short: "Turn a refresh token into an access token",
		Long: `Turn a refresh token, read from standard input, into a short-lived access
token: a signed JWT (RFC 9068) that any service can verify with the keys of
"tokenctl admin key jwks". It bears the roles of the refresh token that its
owner still has, or with --role only some of those.

Where the connection rotates, the refresh token is used up and a new one comes
with the answer: -o json has it, or --refresh-token-output takes it. The old one
gets the same answer again for a moment.`,
		Example: `  printf %s "$REFRESH" | tokenctl exchange
  tokenctl exchange --refresh-token-file refresh.txt --role UserObserver -o json`,
		Args: wantsStdin,
		RunE: func(c *cobra.Command, _ []string) error { return runExchange(c.Context(), a, &o) },
	}
	o.in.bind(c, "refresh-token", "refresh token")
	o.handover.bind(c, "pass")
	c.Flags().StringSliceVar(&o.roles, "role", nil, "only this role; may be repeated")
	c.Flags().StringVar(&o.rotated, "refresh-token-output", "", "write the new refresh token of a connection that rotates to this file (0600), in the place of what is there")
	c.Flags().StringVar(&o.resource, "resource", "", "the audience that is expected (RFC 8707)")
	c.RegisterFlagCompletionFunc("role", a.completeRoles)
	return c
}

func runExchange(ctx context.Context, a *app, o *exchangeOptions) error {
	if err := o.handover.check(a); err != nil {
		return err
	}
	opts, err := a.renderOptions()
	if err != nil {
		return err
	}
	if err := render.Check(opts, render.AccessTokens()); err != nil {
		return err
	}
	text, err := o.in.read(ctx, a)
	if err != nil {
		return err
	}
	if err := authority.CheckForm(text); err != nil {
		return err
	}
	x := authority.Exchange{RefreshToken: text, Resource: o.resource}
	if len(o.roles) > 0 {
		if x.Roles, err = token.ParseRoles(o.roles); err != nil {
			return err
		}
	}
	tokens, err := a.existing(ctx)
	if err != nil {
		return err
	}
	access, err := tokens.Exchange(ctx, x)
	if err != nil {
		return err
	}
	if err := o.keepRotated(a, access); err != nil {
		return err
	}
	if err := a.showAccessToken(ctx, &o.handover, access); err != nil {
		return err
	}
	a.copySecret(ctx, &o.handover, access.Text)
	return nil
}

// keepRotated sees to it that a new refresh token is not lost: for a moment the
// old one gets the same answer again.
func (o *exchangeOptions) keepRotated(a *app, access authority.AccessToken) error {
	if access.RefreshToken.IsZero() {
		return nil
	}
	if o.rotated != "" {
		err := replaceFile(o.rotated, []byte(access.RefreshToken.Reveal()+"\n"))
		if err != nil {
			return fmt.Errorf("%w; the same refresh token gets the same answer again for a moment", err)
		}
		return nil
	}
	if f, err := a.settings.Format(); err == nil && (f == render.Table || f == render.Raw) && a.settings.JQ() == "" {
		a.complain("warning: the refresh token was rotated, and this output has no place for the new one; do it again at once with -o json or --refresh-token-output FILE")
	}
	return nil
}
