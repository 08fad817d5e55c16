package cmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newVerifyCommand(a *app) *cobra.Command {
	var in secretInput
	var role, connection, user, service string
	c := &cobra.Command{
		Use:   "verify [-]",
		Short: "Check a credential",
		Long: `Check a credential from standard input: code:passcode, a passcode, a refresh
token or an access token. The exit code is the answer: 0 accepted, 3 refused,
6 cannot tell. Nothing is changed, not even the time of the last use.

The password of a service says nothing without its service and its user; a user
name without a realm is of the service's realm.`,
		Example: `  printf %s "$TOKEN" | tokenctl verify
  tokenctl verify --credential-file token.txt --role deploy -o json
  printf %s "$PASSWORD" | tokenctl verify --user alice --service imap`,
		Args: wantsStdin,
		RunE: func(c *cobra.Command, _ []string) error {
			if (user == "") != (service == "") {
				return token.Errorf(token.ErrUsage, "--user and --service go together")
			}
			text, err := in.read(c.Context(), a)
			if err != nil {
				return err
			}
			return runVerify(c.Context(), a, authority.Presented{Credential: text, Role: token.Role(role), Connection: connection, User: user, Service: service})
		},
	}
	in.bind(c, "credential", "credential")
	c.Flags().StringVar(&role, "role", "", "also demand a role")
	c.Flags().StringVar(&connection, "connection", "", "accept access tokens of this connection alone")
	c.Flags().StringVar(&service, "service", "", "the credential is a password for this service")
	c.Flags().StringVar(&user, "user", "", "the user whose password it is, with --service")
	c.RegisterFlagCompletionFunc("service", a.completeServices)
	c.RegisterFlagCompletionFunc("user", a.completeOwners)
	c.RegisterFlagCompletionFunc("role", a.completeRoles)
	c.RegisterFlagCompletionFunc("connection", a.completeConnections)
	return c
}

func runVerify(ctx context.Context, a *app, p authority.Presented) error {
	for what, name := range map[string]string{"role": string(p.Role), "connection": p.Connection, "service": p.Service} {
		if name == "" {
			continue
		}
		if err := token.CheckName(what, name); err != nil {
			return err
		}
	}
	id, err := verifyWith(ctx, a, p)
	switch {
	case err == nil:
		return answer(ctx, a, render.Verdicts(), render.Verdict{Valid: true, Identity: id})
	case errors.Is(err, token.ErrRefused) && a.settings.FormatSet():
		if err := answer(ctx, a, render.Verdicts(), render.Verdict{}); err != nil {
			return err
		}
		return errQuietly
	}
	return err
}

func verifyWith(ctx context.Context, a *app, p authority.Presented) (token.Identity, error) {
	// What cannot be a credential of ours needs no store to be refused.
	if err := authority.CheckForm(p.Credential); err != nil && p.Service == "" {
		return token.Identity{}, err
	}
	v, err := a.existing(ctx)
	if err != nil {
		return token.Identity{}, err
	}
	return v.Verify(ctx, p)
}
