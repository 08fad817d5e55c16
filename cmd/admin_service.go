package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminServiceCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "service",
		Short: "Services: applications with passwords of their own",
		Long: `A service is an application that knows only user names and passwords: IMAP,
WebDAV, an old LDAP bind. Everybody can have one password for it, which is good
there and nowhere else.`,
		Example: `  tokenctl admin service add imap --token-type plain15 --enable
  tokenctl admin service list`,
	}
	asGroup(c)
	c.AddCommand(
		newAdminServiceAddCommand(a), newAdminServiceListCommand(a), newAdminServiceShowCommand(a), newAdminServiceSetCommand(a),
		newAdminServiceStatusCommand(a, "enable", "Enable a service", true),
		newAdminServiceStatusCommand(a, "disable", "Disable a service", false),
		newAdminServiceDeleteCommand(a),
	)
	return c
}

// serviceFlags are the properties of a service that can be given.
type serviceFlags struct {
	tokenType, realm, displayName string
	provisioners                  []string
}

func (f *serviceFlags) bind(a *app, c *cobra.Command) {
	c.Flags().StringVar(&f.tokenType, "token-type", "", "plain08, plain15 or strong (default plain15)")
	c.Flags().StringVar(&f.realm, "realm", "", "where a user name is from that names no realm (default local)")
	c.Flags().StringVar(&f.displayName, "display-name", "", "what people call it")
	c.Flags().StringSliceVar(&f.provisioners, "provision", nil, "a provisioner that carries its passwords into another system; may be repeated (set: these and no others, or none)")
	c.RegisterFlagCompletionFunc("token-type", cobra.FixedCompletions([]string{
		described(string(token.Plain08), "8 letters and digits"), described(string(token.Plain15), "15 letters and digits"), described(string(token.Strong), "58 characters"),
	}, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("realm", a.completeRealms)
	c.RegisterFlagCompletionFunc("provision", a.completeProvisioners)
}

func (f *serviceFlags) apply(c *cobra.Command, s *token.ServiceConfig) (err error) {
	changed := c.Flags().Changed
	if changed("token-type") {
		if s.TokenType, err = token.ParseTokenType(f.tokenType); err != nil {
			return err
		}
	}
	if changed("realm") {
		s.Realm = f.realm
	}
	if changed("display-name") {
		s.DisplayName = f.displayName
	}
	if changed("provision") {
		s.Provisioners = f.provisioners
		if len(f.provisioners) == 1 && f.provisioners[0] == noProvisioner {
			s.Provisioners = nil
		}
	}
	return nil
}

func newAdminServiceAddCommand(a *app) *cobra.Command {
	var f serviceFlags
	var enable bool
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a service",
		Long: `Add a service. Until it is enabled, by --enable or later, nobody can have a
password for it.

plain08 and plain15 are 8 and 15 letters and digits, for applications that take
nothing longer; they are kept under a slow hash. strong is for all others: a
scanner recognises it, and it costs no slow hash at each use.`,
		Example: `  tokenctl admin service add imap --token-type plain15 --enable
  tokenctl admin service add webdav --token-type strong --realm corp --enable`,
		Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			svc := token.NewService(args[0])
			svc.Enabled = enable
			if err := f.apply(c, &svc); err != nil {
				return err
			}
			_, err := services.add(c.Context(), a, func(s authority.Service) (token.ServiceConfig, error) {
				return s.AddService(c.Context(), svc)
			})
			if err == nil && !enable {
				a.say("nobody can have a password for it yet: tokenctl admin service enable %s", svc.Name)
			}
			return err
		},
	}
	f.bind(a, c)
	c.Flags().BoolVar(&enable, "enable", false, "enable it at once")
	return c
}

func newAdminServiceListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List services",
		Long:    `List services, by name, disabled ones too.`,
		Example: `  tokenctl admin service list -o json`,
		Args:    noArguments,
		RunE:    services.showAll(a),
	}
}

func newAdminServiceShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show a service",
		Long:              `Show a service.`,
		Example:           `  tokenctl admin service show imap`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeServices,
		RunE:              services.show(a),
	}
}

func newAdminServiceSetCommand(a *app) *cobra.Command {
	var f serviceFlags
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Change a service",
		Long: `Change the properties that are named and leave the others. Passwords that exist
stay as they are: a new type, or a new provisioner, is for those that are made
or rotated from now on. A provisioner that is taken away withdraws its own.`,
		Example: `  tokenctl admin service set imap --provision mail-ldap
  tokenctl admin service set imap --provision none`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			if err := changesSomething(c); err != nil {
				return err
			}
			_, err := services.change(c.Context(), a, args[0], "changed", func(svc *token.ServiceConfig) error { return f.apply(c, svc) })
			return err
		},
	}
	f.bind(a, c)
	return c
}

func newAdminServiceStatusCommand(a *app, verb, short string, enabled bool) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " NAME",
		Short:             short,
		Long:              short + `. It takes effect at the next verification; its passwords themselves stay as they are.`,
		Example:           "  tokenctl admin service " + verb + " imap",
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			_, err := services.change(c.Context(), a, args[0], verb+"d", func(svc *token.ServiceConfig) error {
				svc.Enabled = enabled
				return nil
			})
			return err
		},
	}
}

func newAdminServiceDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME",
		Short:             "Remove a service",
		Long:              `Remove a service for which nobody has a live password.`,
		Example:           `  tokenctl admin service delete imap --yes`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeServices,
		RunE:              services.delete(a),
	}
}
