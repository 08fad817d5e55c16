package authority

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var providers = named[token.Provider]{
	table: store.Providers, article: "an", what: "identity provider", action: "provider",
	command: "tokenctl admin idp", list: "tokenctl admin idp list",
	head: func(p *token.Provider) head {
		return head{p.Name, p.Disabled, &p.CreatedAt, &p.CreatedBy, &p.Revision}
	},
	text:  providerText,
	shown: asItIs[token.Provider],
}

func providerText(p, _ *token.Provider) string {
	text := fmt.Sprintf("issuer %s, audience %s, claim %s", p.Issuer, strings.Join(p.Audiences, " "), p.Claim)
	switch {
	case p.JWKSURL != "":
		text += ", keys at " + p.JWKSURL
	case len(p.Certificates) > 0:
		text += fmt.Sprintf(", %d certificates", len(p.Certificates))
	}
	if p.RoleClaim != "" {
		text += ", roles by " + p.RoleClaim
	}
	for _, m := range p.RoleMap {
		text += fmt.Sprintf(" %q=%s", m.From, m.Role)
	}
	for _, r := range p.Require {
		text += fmt.Sprintf(", requires %q=%q", r.Claim, r.Value)
	}
	if p.Unlinked {
		text += ", unlinked subjects"
	}
	if p.Disabled {
		return "disabled, " + text
	}
	return "enabled, " + text
}

// checkProvider refuses a provider that cannot be used as it is.
func (s *session) checkProvider(p *token.Provider) error {
	if err := p.Check(); err != nil {
		return err
	}
	if s.isDirectory(p.Name) {
		return realmTaken(p.Name)
	}
	return nil
}

// soleIssuer refuses an issuer that another provider has, or that is our own: an
// access token of ours would pass for its owner's log-in, with all their roles.
func (c *change) soleIssuer(p *token.Provider) error {
	ours, err := policy(c)
	if err != nil {
		return err
	}
	if p.Issuer == ours.Issuer {
		return token.Errorf(token.ErrConflict, "the issuer %s is our own, and no provider's", p.Issuer)
	}
	for other, err := range store.Providers.Scan(c) {
		if err != nil {
			return err
		}
		if other.Name != p.Name && strings.EqualFold(other.Name, p.Name) {
			return token.Errorf(token.ErrConflict, "the provider %q is there already, whose name looks like %q", other.Name, p.Name)
		}
		if other.Name != p.Name && other.Issuer == p.Issuer {
			return token.Errorf(token.ErrConflict, "the provider %q has the issuer %s already", other.Name, p.Issuer).
				WithHint("one provider may have several audiences: tokenctl admin idp set %s --audience …", other.Name)
		}
	}
	return nil
}

// AddProvider implements [Providers].
func (s *session) AddProvider(ctx context.Context, p token.Provider) (token.Provider, error) {
	if err := s.checkProvider(&p); err != nil {
		return p, err
	}
	return providers.add(ctx, s, p, func(c *change, p *token.Provider) error {
		if err := c.soleIssuer(p); err != nil {
			return err
		}
		// Whoever is there was never vouched for by this one.
		o, err := firstOf(c, p.Name)
		if err != nil || o.IsZero() {
			return err
		}
		return token.Errorf(token.ErrConflict, "there are accounts in the realm %q, %s among them, which the provider would vouch for", p.Name, o).
			WithHint("choose another name, or delete them: tokenctl admin user list --realm %s", p.Name)
	})
}

// firstOf is some owner in a realm; zero: it has none.
func firstOf(r store.Reader, realm string) (o token.Owner, err error) {
	for a, err := range store.Accounts.Scan(r, realm) {
		return a.Owner, err
	}
	return o, nil
}

// Provider implements [Providers].
func (s *session) Provider(ctx context.Context, name string) (token.Provider, error) {
	return providers.get(ctx, s, name)
}

// ListProviders implements [Providers].
func (s *session) ListProviders(ctx context.Context) iter.Seq2[token.Provider, error] {
	return providers.all(ctx, s)
}

// SetProvider implements [Providers].
func (s *session) SetProvider(ctx context.Context, p token.Provider) (token.Provider, error) {
	check := s.checkProvider
	if p.Disabled { // one that could not be used can still be switched off
		check = (*token.Provider).Check
	}
	if err := check(&p); err != nil {
		return p, err
	}
	return providers.set(ctx, s, p, func(c *change, now, _ *token.Provider) error { return c.soleIssuer(now) })
}

// DeleteProvider implements [Providers].
func (s *session) DeleteProvider(ctx context.Context, name string) error {
	return providers.remove(ctx, s, name, func(c *change) error {
		o, err := firstOf(c, name)
		if err != nil || o.IsZero() {
			return err
		}
		return token.Errorf(token.ErrConflict, "there are accounts in the realm %q, %s among them, and nobody could be asked about them", name, o).
			WithHint("delete them first (tokenctl admin user list --realm %s), or disable it: tokenctl admin idp set %s --disabled", name, name)
	})
}

// LoginProviders implements [Providers].
func (s *session) LoginProviders(ctx context.Context) (all []token.Provider, err error) {
	err = s.view(ctx, func(r store.Reader) error {
		all = nil
		for p, err := range store.Providers.Scan(r) {
			if err != nil {
				return err
			}
			if p.Disabled || p.ClientID == "" {
				continue
			}
			all = append(all, token.Provider{Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, Audiences: p.Audiences[:1]})
		}
		return nil
	})
	return all, err
}

// ExplainJWT implements [Providers].
func (s *session) ExplainJWT(ctx context.Context, jwt secret.Secret) (e JWTExplanation, err error) {
	if err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "ask why a JWT is refused", token.Auditor) }); err != nil {
		return e, err
	}
	c, err := s.parse(ctx, jwt)
	switch {
	case errors.Is(err, token.ErrMalformed) || err == nil && c.kind != token.Access && c.kind != token.Federated:
		return e, token.Errorf(token.ErrUsage, "this is no JWT").WithHint("a JWT is three parts between two periods, eyJ….….…")
	case err != nil:
		return e, err
	case s.federation.judge == nil:
		return e, token.Errorf(token.ErrCannotTell, "nobody here judges the JWTs of identity providers")
	}
	if e.Findings, err = s.federation.judge.Explain(ctx, c.jwt); errors.Is(err, token.ErrCannotTell) {
		e.CannotTell = true // why is in the findings
		return e, nil
	}
	if err != nil {
		return e, nil
	}
	v, err := s.judge(ctx, c)
	var no *Refusal
	last := token.Finding{Check: "owner"}
	switch {
	case errors.As(err, &no):
		last.Text = string(no.Reason)
		if no.why != "" {
			last.Text = no.why
		}
	case err != nil:
		return e, err
	default:
		last.OK, last.Text = true, fmt.Sprintf("it stands for %s", v.identity.Owner)
		e.Accepted, e.Owner, e.Roles = true, v.identity.Owner, v.identity.Roles
	}
	if v.said != nil {
		e.Provider = v.said.Provider
	}
	e.Findings = append(e.Findings, last)
	return e, nil
}

// LinkIdentity implements [Accounts].
func (s *session) LinkIdentity(ctx context.Context, o token.Owner, name, subject string) (token.Account, error) {
	// A JWT is refused whose subject is written otherwise.
	if as, err := token.NewOwner(name, subject); err != nil {
		return token.Account{}, err
	} else if as.Name != subject {
		return token.Account{}, token.Errorf(token.ErrUsage, "the subject %q is not written as names are, %q", subject, as.Name)
	}
	return s.changeIdentities(ctx, o, "account.link", func(c *change, a *token.Account) (string, error) {
		p, err := providers.find(c, name)
		if err != nil {
			return "", err
		}
		if e := p.Identity(subject); a.Identity(e) == nil {
			a.Identities = append(slices.Clone(a.Identities), token.LinkedIdentity{ExternalIdentity: e})
		}
		return fmt.Sprintf("%q of the provider %s, %s", subject, name, p.Issuer), a.Check()
	})
}

// UnlinkIdentity implements [Accounts].
func (s *session) UnlinkIdentity(ctx context.Context, o token.Owner, name, subject string) (token.Account, error) {
	return s.changeIdentities(ctx, o, "account.unlink", func(c *change, a *token.Account) (string, error) {
		meant := func(e token.ExternalIdentity) bool { return e.Issuer == name && e.Subject == subject }
		if !strings.Contains(name, "://") { // which no name of a provider has
			p, err := providers.find(c, name)
			if err != nil {
				return "", err
			}
			meant = func(e token.ExternalIdentity) bool { return e == p.Identity(subject) }
		}
		left := slices.DeleteFunc(slices.Clone(a.Identities), func(i token.LinkedIdentity) bool { return meant(i.ExternalIdentity) })
		if len(left) == len(a.Identities) {
			return "", token.Errorf(token.ErrNotFound, "%q of the identity provider %s is not linked to %s", subject, name, a.Owner).
				WithHint("tokenctl admin user show %s names what is; of a provider that is gone or has changed, name the issuer", a.Owner)
		}
		a.Identities = left
		return fmt.Sprintf("%q of the provider %s", subject, name), nil
	})
}

func (s *session) changeIdentities(ctx context.Context, o token.Owner, action string, apply func(*change, *token.Account) (string, error)) (now token.Account, err error) {
	if o, err = s.canonicalOwner(o); err != nil {
		return now, err
	}
	err = s.update(ctx, func(c *change) error {
		if err := c.by.needs(c, "change accounts", token.Admin); err != nil {
			return err
		}
		a, err := account(c, o)
		if err != nil {
			return err
		}
		detail, err := apply(c, &a)
		if err != nil {
			return err
		}
		a.Revision++
		now = a
		c.noteAccount(action, &a, detail)
		return c.putAccount(a)
	})
	return shown(now), err
}
