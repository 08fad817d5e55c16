package cmd

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminProvisionCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "provision",
		Short: "What other systems are told of passwords",
		Long: `Provisioners carry the passwords of services into other systems, such as an LDAP
server that applications bind to. They stand in the config file, in the list
provisioners. What a change has to tell them is kept with the change, and tried
until they have agreed.`,
		Example: `  tokenctl admin provision status
  tokenctl admin provision retry`,
	}
	asGroup(c)
	c.AddCommand(newAdminProvisionListCommand(a), newAdminProvisionStatusCommand(a), newAdminProvisionRetryCommand(a))
	return c
}

// deliveryFlags choose deliveries.
type deliveryFlags struct {
	owner, service, provisioner string
}

func (f *deliveryFlags) bind(a *app, c *cobra.Command) {
	c.Flags().StringVar(&f.owner, "owner", "", "only those of an owner: realm/name")
	c.Flags().StringVar(&f.service, "service", "", "only those of a service")
	c.Flags().StringVar(&f.provisioner, "provisioner", "", "only those of a provisioner")
	c.RegisterFlagCompletionFunc("owner", a.completeOwners)
	c.RegisterFlagCompletionFunc("service", a.completeServices)
	c.RegisterFlagCompletionFunc("provisioner", a.completeProvisioners)
}

// filter is what the flags and an argument choose.
func (f *deliveryFlags) filter(args []string) (d authority.DeliveryFilter, err error) {
	d.Service, d.Provisioner = f.service, f.provisioner
	if f.owner != "" {
		if d.Owner, err = token.ParseOwner(f.owner); err != nil {
			return d, err
		}
	}
	if len(args) > 0 {
		d.Token, err = token.ParseID(args[0])
	}
	return d, err
}

func atMostOneArgument(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return token.Errorf(token.ErrUsage, "unexpected argument %q", args[1])
	}
	return nil
}

func newAdminProvisionListCommand(a *app) *cobra.Command {
	var f deliveryFlags
	var pending bool
	c := &cobra.Command{
		Use:   "list [TOKEN]",
		Short: "List what provisioners were told",
		Long: `List what is known of each password at each provisioner: whether the other
system has agreed to the last change, and why not.`,
		Example: `  tokenctl admin provision list --pending
  tokenctl admin provision list 1k7q9v2mabcd3fgh -o json`,
		Args:              atMostOneArgument,
		ValidArgsFunction: a.completeTokens,
		RunE: func(c *cobra.Command, args []string) error {
			chosen, err := f.filter(args)
			if err != nil {
				return err
			}
			chosen.Pending = pending
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			return answerList(c.Context(), a, render.Deliveries(), s.ListDeliveries(c.Context(), chosen), "nothing is provisioned")
		},
	}
	f.bind(a, c)
	c.Flags().BoolVar(&pending, "pending", false, "only what the other system has not agreed to yet")
	return c
}

func newAdminProvisionStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Tell how provisioners are doing",
		Long: `Tell for each provisioner how many passwords it has been told of, how many
changes it has not agreed to yet, and what the last of them failed for.`,
		Example: `  tokenctl admin provision status -o json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			states, err := provisionerStates(c.Context(), s)
			if err != nil {
				return err
			}
			return answerList(c.Context(), a, render.Provisioners(), all(states), "nothing is provisioned")
		},
	}
}

// provisionerStates sums up deliveries, by provisioner.
func provisionerStates(ctx context.Context, s authority.Provisioning) ([]render.ProvisionerState, error) {
	by := map[string]*render.ProvisionerState{}
	for d, err := range s.ListDeliveries(ctx, authority.DeliveryFilter{}) {
		if err != nil {
			return nil, err
		}
		p := by[d.Provisioner]
		if p == nil {
			p = &render.ProvisionerState{Name: d.Provisioner}
			by[d.Provisioner] = p
		}
		p.Tokens++
		if !d.Pending {
			continue
		}
		p.Pending++
		if d.Error != "" {
			p.Failing++
		}
		if d.Error != "" && !d.LastTry.Before(p.LastTry) {
			p.LastTry, p.Error = d.LastTry, d.Error
		}
	}
	states := []render.ProvisionerState{}
	for _, p := range by {
		states = append(states, *p)
	}
	slices.SortFunc(states, func(a, b render.ProvisionerState) int { return strings.Compare(a.Name, b.Name) })
	return states, nil
}

func newAdminProvisionRetryCommand(a *app) *cobra.Command {
	var f deliveryFlags
	c := &cobra.Command{
		Use:   "retry [TOKEN]",
		Short: "Try now what is pending",
		Long: `Try now what the other systems have not agreed to yet, without waiting for the
next attempt. What fails again is tried again later; admin provision list says
why.`,
		Example: `  tokenctl admin provision retry
  tokenctl admin provision retry --provisioner mail-ldap`,
		Args:              atMostOneArgument,
		ValidArgsFunction: a.completeTokens,
		RunE: func(c *cobra.Command, args []string) error {
			chosen, err := f.filter(args)
			if err != nil {
				return err
			}
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			n, err := s.RetryDeliveries(c.Context(), chosen)
			if err != nil {
				return err
			}
			a.say("%s tried now", several(n, "pending change"))
			return nil
		},
	}
	f.bind(a, c)
	return c
}
