package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminConnectionCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "connection",
		Short: "Connections: the OAuth settings of a tenant",
		Long: `A connection is the OAuth settings of a tenant: its name is the client_id, its
entity id the audience of its access tokens. Its clients are public, or have a
client secret. A new store has one named default.`,
		Example: `  tokenctl admin connection add billing --entity-id https://billing.example.org
  tokenctl admin connection list`,
	}
	asGroup(c)
	c.AddCommand(
		newAdminConnectionAddCommand(a), newAdminConnectionListCommand(a), newAdminConnectionShowCommand(a),
		newAdminConnectionSetCommand(a), newAdminConnectionSecretCommand(a), newAdminConnectionDeleteCommand(a),
	)
	return c
}

// connectionFlags are the properties of a connection that can be given.
type connectionFlags struct {
	handover
	entityID, lifetime, roleClaim, algorithm string
	roles                                    []string
	rotate                                   bool
	reuse, window, method                    string
}

func (f *connectionFlags) bind(a *app, c *cobra.Command) {
	c.Flags().StringVar(&f.entityID, "entity-id", "", "the audience of its access tokens, an absolute URI (default urn:tokenctl:NAME)")
	c.Flags().StringVar(&f.lifetime, "access-lifetime", "", "how long its access tokens live, such as 60m")
	c.Flags().StringSliceVar(&f.roles, "role", nil, "a role on offer; may be repeated (set: these and no others; none: any role)")
	c.Flags().StringVar(&f.roleClaim, "role-claim", "", "the claim that carries the roles (default "+token.DefaultRoleClaim+")")
	c.Flags().StringVar(&f.algorithm, "algorithm", "", "EdDSA, ES256 or RS256 (default EdDSA)")
	c.Flags().BoolVar(&f.rotate, "rotate", false, "each exchange gives a new refresh token in the place of the old one")
	c.Flags().StringVar(&f.reuse, "reuse", "", "what the use of a rotated refresh token means: off, alert or revoke (default revoke)")
	c.Flags().StringVar(&f.window, "retry-window", "", "how long a rotated refresh token gets the same new one again (default 30s)")
	c.Flags().StringVar(&f.method, "auth-method", "", "how its clients authenticate: none, client_secret_basic or client_secret_post (default none)")
	f.handover.bind(c, "secret")
	c.RegisterFlagCompletionFunc("auth-method", cobra.FixedCompletions([]string{
		described(string(token.AuthNone), "public clients"), described(string(token.AuthBasic), "a secret in an Authorization header"), described(string(token.AuthPost), "a secret in the form"),
	}, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("reuse", cobra.FixedCompletions([]string{
		described(string(token.ReuseOff), "it is refused"), described(string(token.ReuseAlert), "and noted in the audit log"), described(string(token.ReuseRevoke), "and all of the family is revoked"),
	}, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("algorithm", cobra.FixedCompletions([]string{"EdDSA", "ES256", "RS256"}, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("role", a.completeRoles)
}

func (f *connectionFlags) apply(c *cobra.Command, conn *token.Connection) (err error) {
	changed := c.Flags().Changed
	if changed("entity-id") {
		conn.EntityID = f.entityID
	}
	if changed("access-lifetime") {
		if conn.AccessLifetime, err = token.ParseLifetime(f.lifetime); err != nil {
			return err
		}
	}
	if changed("role-claim") {
		conn.RoleClaim = f.roleClaim
	}
	if changed("algorithm") {
		if conn.Algorithm, err = token.ParseAlgorithm(f.algorithm); err != nil {
			return err
		}
	}
	if changed("rotate") {
		conn.Rotate = f.rotate
	}
	if changed("reuse") {
		if conn.Reuse, err = token.ParseReuse(f.reuse); err != nil {
			return err
		}
	}
	if changed("retry-window") {
		if conn.RetryWindow, err = token.ParseDuration(f.window); err != nil {
			return err
		}
	}
	if changed("auth-method") {
		if conn.AuthMethod, err = token.ParseAuthMethod(f.method); err != nil {
			return err
		}
	}
	if changed("role") {
		if conn.Roles, err = rolesOrNone(f.roles); err != nil {
			return err
		}
	}
	return nil
}

func newAdminConnectionAddCommand(a *app) *cobra.Command {
	var f connectionFlags
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a connection",
		Long: `Add a connection: access tokens of 60 minutes, signed with Ed25519, unless said
otherwise. With --auth-method client_secret_basic or client_secret_post its
clients need a client secret, which is made and shown this once.`,
		Example: `  tokenctl admin connection add billing --entity-id https://billing.example.org --role reader --role writer
  tokenctl admin connection add crm --auth-method client_secret_basic > secret.txt`,
		Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			conn := token.NewConnection(args[0])
			if err := f.apply(c, &conn); err != nil {
				return err
			}
			secret, err := f.makesSecret(a, c, &conn)
			if err != nil {
				return err
			}
			s, err := a.growing(c.Context())
			if err != nil {
				return err
			}
			if conn, err = s.AddConnection(c.Context(), conn); err != nil {
				return err
			}
			if !secret {
				return connections.tell(c.Context(), a, conn, "added")
			}
			return a.newClientSecret(c.Context(), s, &f.handover, conn.Name, "added", func(token.Connection) error {
				return s.DeleteConnection(context.WithoutCancel(c.Context()), conn.Name)
			})
		},
	}
	f.bind(a, c)
	return c
}

func newAdminConnectionListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List connections",
		Long:    `List connections, by name.`,
		Example: `  tokenctl admin connection list -o yaml`,
		Args:    noArguments,
		RunE:    connections.showAll(a),
	}
}

func newAdminConnectionShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show a connection",
		Long:              `Show a connection.`,
		Example:           `  tokenctl admin connection show default`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeConnections,
		RunE:              connections.show(a),
	}
}

func newAdminConnectionSetCommand(a *app) *cobra.Command {
	var f connectionFlags
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Change a connection",
		Long: `Change the properties that are named and leave the others. Refresh tokens keep
the audience that they were made with. The first client secret is made and shown
when clients come to need one (--auth-method); it stays when only the method
changes, and none drops it.`,
		Example: `  tokenctl admin connection set default --access-lifetime 15m
  tokenctl admin connection set billing --auth-method client_secret_post > secret.txt`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeConnections,
		RunE: func(c *cobra.Command, args []string) error {
			if err := changesSomething(c); err != nil {
				return err
			}
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			was, err := s.Connection(c.Context(), args[0])
			if err != nil {
				return err
			}
			conn := was
			if err := f.apply(c, &conn); err != nil {
				return err
			}
			secret, err := f.makesSecret(a, c, &conn)
			if err != nil {
				return err
			}
			if conn, err = s.SetConnection(c.Context(), conn); err != nil {
				return err
			}
			if !secret {
				return connections.tell(c.Context(), a, conn, "changed")
			}
			return a.newClientSecret(c.Context(), s, &f.handover, conn.Name, "changed", func(now token.Connection) error {
				was.Revision = now.Revision
				_, err := s.SetConnection(context.WithoutCancel(c.Context()), was)
				return err
			})
		},
	}
	f.bind(a, c)
	return c
}

func newAdminConnectionDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME",
		Short:             "Remove a connection",
		Long:              `Remove a connection to which no live refresh token belongs.`,
		Example:           `  tokenctl admin connection delete billing --yes`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeConnections,
		RunE:              connections.delete(a),
	}
}
