package cmd

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminKeyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Signing keys and the key file",
		Long: `Signing keys sign access tokens; the numbered keys of the key file protect
everything that is stored.`,
		Example: `  tokenctl admin key list
  tokenctl admin key jwks > jwks.json`,
	}
	asGroup(c)
	c.AddCommand(newAdminKeyListCommand(a), newAdminKeyRotateCommand(a), newAdminKeyJWKSCommand(a))
	return c
}

func newAdminKeyListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List keys",
		Long:    `List the keys of the key file and the signing keys, without their secret parts.`,
		Example: `  tokenctl admin key list -o json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			keys, err := s.ListKeys(c.Context())
			if err != nil {
				return err
			}
			return answerList(c.Context(), a, render.Keys(), all(keys), "no keys")
		},
	}
}

func newAdminKeyRotateCommand(a *app) *cobra.Command {
	var algorithm string
	c := &cobra.Command{
		Use:   "rotate [sign|file]",
		Short: "Take a new key into use",
		Long: `Take a new key into use. sign, the default: the next signing key, which has
been published in the key set before; the old one stays there until its last
access token has expired. file: a new key in the key file; what older keys
protect stays readable, so make a new copy of the file.`,
		Example: `  tokenctl admin key rotate
  tokenctl admin key rotate file`,
		ValidArgs: []string{"sign", "file"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && args[0] != "sign" && args[0] != "file" {
				return token.Errorf(token.ErrUsage, "cannot rotate %q", args).WithHint("sign or file")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			var k authority.Key
			if len(args) == 1 && args[0] == "file" {
				k, err = s.RotateKeyFile(c.Context())
			} else {
				k, err = s.RotateSigning(c.Context(), token.Algorithm(algorithm))
			}
			if err != nil {
				return err
			}
			a.say("the %s key in use is now %s", k.Use, k.ID)
			if !a.settings.FormatSet() {
				return nil
			}
			return answer(c.Context(), a, render.Keys(), k)
		},
	}
	c.Flags().StringVar(&algorithm, "algorithm", string(token.EdDSA), "whose signing key: EdDSA, ES256 or RS256")
	c.RegisterFlagCompletionFunc("algorithm", cobra.FixedCompletions([]string{"EdDSA", "ES256", "RS256"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func newAdminKeyJWKSCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "jwks",
		Short: "Print the public keys of access tokens",
		Long: `Print the public keys that verify access tokens as a JSON Web Key Set (RFC
7517), for services that verify offline.`,
		Example: `  tokenctl admin key jwks > jwks.json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			set, err := s.JWKS(c.Context())
			if err != nil {
				return err
			}
			if a.settings.FormatSet() {
				return answer(c.Context(), a, render.Object[json.RawMessage](), set)
			}
			_, err = fmt.Fprintf(a.stdout, "%s\n", set)
			return written(err)
		},
	}
}
