package cmd

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminIdpAddCommand(a *app) *cobra.Command {
	var f providerFlags
	var sample string
	c := &cobra.Command{
		Use:   "add [NAME]",
		Short: "Add an identity provider",
		Long: `Add an identity provider. Its JWTs are accepted if they are from the issuer, for
one of the audiences, not expired, and signed with one of its keys; ID tokens
are not. Keys come from the key set at --jwks-url, or are those of up to 5
certificates, or else are found by the issuer (OpenID Connect Discovery), which
must be an https URL then.

The claim says who it is. A subject stands for the account that is linked to it;
with --unlinked any other is NAME/SUBJECT, an owner of its own. Roles come from
--role-claim, by --role-map alone: --role-map cn=admins=tokenctl:admin.

An issuer that serves everybody, as those of GitHub and gitlab.com do, gives
everybody JWTs for any audience. There --require CLAIM=VALUE says whose are
accepted: each claim named must have one of the values named for it, exactly.
Without it --unlinked would make everybody there an owner here.

--from-jwt reads these settings from a sample JWT, in a file or, with -, from
standard input or typed unseen. It shows what the JWT says of itself, nothing of
which is proved, and asks; flags come before what it says. Of several audiences
--audience has to name the right one. Without NAME the provider is named by the
host of its issuer.

A provider whose keys are found by the issuer is then asked about itself, from
this machine, also if the tokens are at a server. What it does not answer is a
warning; --no-check leaves the question out.`,
		Example: `  tokenctl admin idp add corp --issuer https://id.example.org --audience tokenctl
  tokenctl admin idp add ci --from-jwt job.jwt --require namespace_id=72
  tokenctl admin idp add --from-jwt sample.jwt --unlinked
  tokenctl admin idp add --from-jwt - --yes < sample.jwt`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && c.Flags().Changed("from-jwt") {
				return nil
			}
			return exactly("NAME")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			p, err := newProvider(c, a, &f, sample, strings.Join(args, ""))
			if err != nil {
				return err
			}
			p, err = providers.add(c.Context(), a, func(s authority.Service) (token.Provider, error) {
				return s.AddProvider(c.Context(), p)
			})
			if err != nil {
				return err
			}
			if !p.Unlinked {
				a.say("its subjects need accounts: tokenctl admin user link OWNER --idp %s --subject SUBJECT", p.Name)
			}
			f.ask(c.Context(), a, &p)
			return nil
		},
	}
	f.bind(a, c)
	c.Flags().StringVar(&sample, "from-jwt", "", "a file with a sample JWT, or -, to take settings from")
	return c
}

// newProvider is the provider that the command line names, and a sample JWT if
// there is one.
func newProvider(c *cobra.Command, a *app, f *providerFlags, file, name string) (token.Provider, error) {
	p := token.NewProvider(name)
	if file == "" {
		return p, f.apply(c, &p)
	}
	sample, err := readSample(c.Context(), a, file)
	if err != nil {
		return p, err
	}
	p = sample.Provider
	if err := f.apply(c, &p); err != nil {
		return p, err
	}
	if len(sample.Provider.Audiences) > 1 && !c.Flags().Changed("audience") {
		return p, ambiguousAudience(sample.Provider.Audiences)
	}
	if p.Name = name; name == "" {
		p.Name = idp.NameFor(p.Issuer)
	}
	if p.Name == "" {
		return p, token.Errorf(token.ErrUsage, "the issuer %.200q has no host to name the provider by", p.Issuer).
			WithHint("give it a name: tokenctl admin idp add NAME --from-jwt …")
	}
	a.showSample(&sample, &p)
	// Nobody is asked about what cannot be.
	if err := p.Check(); err != nil {
		return p, err
	}
	return p, a.confirm(fmt.Sprintf("add the identity provider %s, whose JWTs say that they are from %s?", p.Name, p.Issuer))
}

// ambiguousAudience has a person choose: one of several audiences may be that of
// every client of the provider, as Keycloak's account is, and with it JWTs for all
// of them would be accepted.
func ambiguousAudience(audiences []string) error {
	names := make([]string, len(audiences))
	for i, audience := range audiences {
		names[i] = shortened(fmt.Sprintf("%q", audience))
	}
	return token.Errorf(token.ErrUsage, "the sample has several audiences, and some may be in every JWT of the provider: %s", strings.Join(names, ", ")).
		WithHint("name with --audience the one that stands for tokenctl alone")
}

func readSample(ctx context.Context, a *app, file string) (s idp.Sample, err error) {
	in := secretInput{name: "from-jwt", what: "JWT", file: file}
	if file == "-" {
		in.file = ""
	}
	jwt, err := in.read(ctx, a)
	if err != nil {
		return s, err
	}
	if s, err = idp.ReadSample(jwt.Reveal()); err != nil {
		return s, token.Errorf(token.ErrUsage, "the sample is no JWT of a provider: %w", err)
	}
	return s, nil
}

// showSample tells what a sample says of itself, and what would be made of it.
// It is not said where stderr is one JSON value for a program, nor with --quiet
// unless somebody is asked.
func (a *app) showSample(s *idp.Sample, p *token.Provider) {
	if !a.showsBefore() && (a.settings.JSONErrors() || a.settings.Quiet()) {
		return
	}
	a.complain("the JWT says this, and nothing of it is proved:")
	for _, line := range sampleLines(s) {
		a.complain("  %s", line)
	}
	unlinked := "refused"
	if p.Unlinked {
		unlinked = "accepted"
	}
	a.complain("the provider %s would accept JWTs for %q, signed with %s; %s says who it is; subjects without an account are %s",
		p.Name, p.Audiences, strings.Join(algorithmNames(p.Algorithms), ", "), p.Claim, unlinked)
}

// sampleLines are what a sample says, the signature apart: that is what makes a
// credential of it.
func sampleLines(s *idp.Sample) []string {
	lines := []string{
		"issuer: " + shortened(fmt.Sprintf("%q", s.Provider.Issuer)),
		"audience: " + shortened(fmt.Sprintf("%q", s.Provider.Audiences)),
		"subject: " + shortened(fmt.Sprintf("%q", s.Subject)),
	}
	if len(s.Provider.Algorithms) == 1 { // else a note says why none will do
		lines = append(lines, "signed with: "+string(s.Provider.Algorithms[0]))
	}
	for _, claim := range s.Claims {
		lines = append(lines, "claim "+shortened(claim.Name)+": "+shortened(claim.JSON))
	}
	for _, note := range s.Notes {
		lines = append(lines, "note: "+note)
	}
	return lines
}

// shortened is a text from outside, short enough for a line.
func shortened(s string) string {
	const most = 80
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

func algorithmNames(all []token.Algorithm) []string {
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = string(a)
	}
	return names
}
