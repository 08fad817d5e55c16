package cmd

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminIdpTestCommand(a *app) *cobra.Command {
	var in secretInput
	c := &cobra.Command{
		Use:   "test [-]",
		Short: "Say why a provider's JWT is accepted or refused",
		Long: `Say of a JWT from standard input what every check finds: form, issuer,
algorithm, audience, times, kind, identity, roles, signature, and whom it stands
for. Strangers never learn this: to them all refusals are the same. Nothing is
changed.

The exit code is the answer: 0 accepted, 3 refused, 6 if the provider's keys
cannot be had.`,
		Example: `  tokenctl admin idp test < sample.jwt
  tokenctl admin idp test --jwt-file sample.jwt -o json`,
		Args: wantsStdin,
		RunE: func(c *cobra.Command, _ []string) error {
			jwt, err := in.read(c.Context(), a)
			if err != nil {
				return err
			}
			s, err := a.existing(c.Context())
			if err != nil {
				return err
			}
			e, err := s.ExplainJWT(c.Context(), jwt)
			if err != nil {
				return err
			}
			o, err := a.renderOptions()
			if err != nil {
				return err
			}
			if err := render.JWTExplanation(c.Context(), a.stdout, o, e); err != nil {
				return err
			}
			return outcome(&e)
		},
	}
	in.bind(c, "jwt", "JWT")
	return c
}

// outcome is the error that a verdict on a JWT ends the command with. Why is on
// standard output.
func outcome(e *authority.JWTExplanation) error {
	var failed []string
	for _, f := range e.Findings {
		if !f.OK {
			failed = append(failed, f.Check)
		}
	}
	switch {
	case e.Accepted:
		return nil
	case e.CannotTell:
		return token.Errorf(token.ErrCannotTell, "nobody can tell about the JWT: the keys of its provider cannot be had")
	}
	return token.Errorf(token.ErrRefused, "the JWT is refused by: %s", strings.Join(failed, ", "))
}
