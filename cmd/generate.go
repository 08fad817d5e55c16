package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

type generateOptions struct {
	handover
	owner      string
	lifetime   string
	connection string
	roles      []string
	kept       func(authority.Issued) error // keeps the secret; nil: nobody does
}

func (o *generateOptions) bind(a *app, c *cobra.Command, copies ...string) {
	o.handover.bind(c, copies...)
	c.Flags().StringVar(&o.owner, "owner", "", "make it for somebody else (administrators): realm/name")
	c.Flags().StringVar(&o.lifetime, "lifetime", "", "how long it lives, such as 7d, 12h (default: what policy says)")
	c.RegisterFlagCompletionFunc("owner", a.completeOwners)
}

func newGenerateCommand(a *app) *cobra.Command {
	c := newGenerateUserCommand(a)
	c.Use = "generate"
	c.Long = `Make a token and show its secret once. Without a kind this is a user token:
a user code and a passcode to log in as yourself, without your password.

On a terminal the passcode is also put on the clipboard for a while. Otherwise
the answer is one line, code:passcode.`
	c.Example = `  tokenctl generate
  tokenctl generate refresh ci --role reader --lifetime 30d
  TOKEN=$(tokenctl generate)`
	c.Args = noKind
	c.AddCommand(newGenerateUserCommand(a), newGenerateServiceCommand(a), newGenerateRefreshCommand(a))
	return c
}

func noKind(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return token.Errorf(token.ErrUsage, "cannot generate %q", args[0]).WithHint("kinds are user, service and refresh")
}

func newGenerateUserCommand(a *app) *cobra.Command {
	var o generateOptions
	c := &cobra.Command{
		Use:   "user",
		Short: "Make a token that logs in as you",
		Long: `Make a user token: a user code and a passcode that together log in as their
owner, with all of the owner's roles. An owner has one. Its secret is shown
once and cannot be shown again.`,
		Example: `  tokenctl generate user
  tokenctl generate user --owner build-bot --lifetime 90d`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return runGenerate(c.Context(), a, &o, token.Spec{Kind: token.User})
		},
	}
	o.bind(a, c, "pass", "code", "pair")
	return c
}

func newGenerateRefreshCommand(a *app) *cobra.Command {
	var o generateOptions
	var save bool
	c := &cobra.Command{
		Use:   "refresh [NAME]",
		Short: "Make a token that obtains access tokens",
		Long: `Make a refresh token, which "tokenctl exchange" turns into short-lived access
tokens. Those bear the roles that are chosen here, as far as the owner has
them then; without --role they bear none. The name is unique among the owner's
live refresh tokens.

With --save this machine keeps it, in the keyring of the operating system or else
in a file (0600): then "tokenctl exchange NAME", "copy NAME" and "exec NAME" need
no pasting.`,
		Example: `  tokenctl generate refresh ci-deploy --role UserObserver --role UserContributor
  tokenctl generate refresh nightly --lifetime 30d -o json`,
		Args: atMostOneName,
		RunE: func(c *cobra.Command, args []string) error {
			spec := token.Spec{Kind: token.Refresh, Connection: o.connection}
			if len(args) == 1 {
				spec.Name = args[0]
			}
			roles, err := token.ParseRoles(o.roles)
			if err != nil {
				return err
			}
			spec.Roles = roles
			if save && spec.Name == "" {
				return token.Errorf(token.ErrUsage, "--save needs a name to keep it under")
			}
			if save {
				o.kept = func(issued authority.Issued) error { return a.save(c.Context(), spec.Name, issued.Secret, "") }
			}
			return runGenerate(c.Context(), a, &o, spec)
		},
	}
	o.bind(a, c, "pass")
	c.Flags().BoolVar(&save, "save", false, "keep it on this machine, under its name")
	c.Flags().StringVar(&o.connection, "connection", "", `the connection whose access tokens it obtains (default "default")`)
	c.Flags().StringSliceVar(&o.roles, "role", nil, "a role of its access tokens; may be repeated")
	c.RegisterFlagCompletionFunc("connection", a.completeConnections)
	c.RegisterFlagCompletionFunc("role", a.completeRoles)
	return c
}

func newGenerateServiceCommand(a *app) *cobra.Command {
	var o generateOptions
	var wait bool
	c := &cobra.Command{
		Use:   "service SERVICE",
		Short: "Make a password for one application",
		Long: `Make a password for one service, an application that knows only user names and
passwords. It is good there and nowhere else, and you have one for each: another
takes its place, which is asked before. What the service's provisioners have to
be told is kept with it, and tried until they have agreed; --wait fails with exit
code 6 if they have not, and the password stays.`,
		Example: `  tokenctl generate service imap
  tokenctl generate service webdav --owner corp/alice --yes --wait`,
		Args:              exactly("SERVICE"),
		ValidArgsFunction: a.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			return runGenerateService(c.Context(), a, &o, args[0], wait)
		},
	}
	o.bind(a, c, "pass")
	c.Flags().BoolVar(&wait, "wait", false, "fail if the provisioners have not been told")
	return c
}

func runGenerateService(ctx context.Context, a *app, o *generateOptions, service string, wait bool) error {
	spec := token.Spec{Kind: token.Service, Service: service, Replace: a.settings.Yes()}
	if err := o.prepare(a, &spec); err != nil {
		return err
	}
	s, err := a.service(ctx)
	if err != nil {
		return err
	}
	svc, err := s.Service(ctx, service)
	if err != nil {
		return err
	}
	old, err := mayReplace(ctx, a, s, spec)
	if err != nil {
		return err
	}
	spec.Replace = spec.Replace || len(old) > 0
	issued, err := s.Generate(ctx, spec)
	if err != nil {
		return err
	}
	if err := a.handOver(ctx, s, &o.handover, issued); err != nil || len(svc.Provisioners) == 0 {
		return err
	}
	return a.deliver(ctx, s, append(old, issued.Token.ID), wait)
}

// mayReplace asks whether a new password may take the place of the one that
// there is, and says which that is.
func mayReplace(ctx context.Context, a *app, s authority.Service, spec token.Spec) (old []token.ID, err error) {
	owner := spec.Owner
	if owner.IsZero() {
		me, err := s.WhoAmI(ctx)
		if err != nil {
			return nil, err
		}
		owner = me.Owner
	}
	for t, err := range s.List(ctx, token.Selector{Kind: token.Service, Service: spec.Service, Owner: owner}) {
		if err != nil {
			return nil, err
		}
		used := "never used"
		if !t.LastUsedAt.IsZero() {
			used = "last used " + t.LastUsedAt.Format(time.RFC3339)
		}
		return []token.ID{t.ID}, a.confirm(fmt.Sprintf("%s has a password for %s, made %s, %s; it ends at once: replace it?", t.Owner, spec.Service, t.CreatedAt.Format(time.RFC3339), used))
	}
	return nil, nil
}

// quickDelivery is how long a command that was not told to waits for other
// systems.
const quickDelivery = 5 * time.Second

// deliver waits for other systems to be told of a new token, which comes last, and
// of those whose place it has taken, and says which were not.
func (a *app) deliver(ctx context.Context, s authority.Provisioning, ids []token.ID, wait bool) error {
	if !wait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, quickDelivery)
		defer cancel()
	}
	var pending []authority.Delivery
	id := ids[len(ids)-1]
	for _, about := range ids {
		more, err := s.Deliver(ctx, about)
		pending = append(pending, more...)
		if err == nil {
			continue
		}
		if wait {
			return err
		}
		a.toldPending = true
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", quickDelivery)
		}
		a.complain("warning: other systems may not have been told yet: %v; see tokenctl admin provision list %s", err, id)
		return nil
	}
	if len(pending) == 0 {
		return nil
	}
	a.toldPending = true
	var names []string
	for _, d := range pending {
		name := d.Provisioner
		if d.Token != id {
			name += ", of the old password"
		}
		if d.Error != "" {
			name += " (" + d.Error + ")"
		}
		names = append(names, name)
	}
	told := "not told yet, and tried again: " + strings.Join(names, ", ")
	if wait {
		return token.Errorf(token.ErrCannotTell, "the password is made, but %s", told).WithHint("tokenctl admin provision list %s shows how it stands", id)
	}
	a.complain("warning: %s", told)
	return nil
}

// prepare reads what all kinds have, before anything is made.
func (o *generateOptions) prepare(a *app, spec *token.Spec) (err error) {
	if err := readyToShow(a, &o.handover, render.Issued()); err != nil {
		return err
	}
	if o.owner != "" {
		if spec.Owner, err = token.ParseOwner(o.owner); err != nil {
			return err
		}
	}
	if o.lifetime != "" {
		spec.Lifetime, err = token.ParseLifetime(o.lifetime)
	}
	return err
}

// runGenerate makes a token and hands its secret over.
func runGenerate(ctx context.Context, a *app, o *generateOptions, spec token.Spec) error {
	if err := o.prepare(a, &spec); err != nil {
		return err
	}
	tokens, err := a.growing(ctx)
	if err != nil {
		return err
	}
	issued, err := tokens.Generate(ctx, spec)
	if err != nil {
		return err
	}
	if o.kept != nil {
		if err := o.kept(issued); err != nil {
			return a.takenBack(ctx, tokens, issued, err)
		}
	}
	return a.handOver(ctx, tokens, &o.handover, issued)
}

// readyToShow finds out before a secret is made whether it can be shown.
func readyToShow[T any](a *app, h *handover, k render.Kind[T]) error {
	if err := h.check(a); err != nil {
		return err
	}
	o, err := a.renderOptions()
	if err != nil {
		return err
	}
	return render.Check(o, k)
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return token.Errorf(token.ErrUsage, "unexpected argument %q", args[0])
}

func atMostOneName(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return token.Errorf(token.ErrUsage, "unexpected argument %q", args[1])
	}
	if len(args) == 1 {
		return token.CheckName("token name", args[0])
	}
	return nil
}

// exactly is the check for commands that take a fixed number of arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return token.Errorf(token.ErrUsage, "%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return token.Errorf(token.ErrUsage, "unexpected argument %q", args[len(names)])
		}
		return nil
	}
}
