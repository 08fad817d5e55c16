package ldap

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The attributes that passwords of applications are kept in.
const (
	// UserPassword is what LDAP servers check a bind against, RFC 4519 §2.41.
	// It has many values, of which each is good: people keep their own. A
	// server tries them one after the other: a bind with a wrong password
	// takes some 70 ms for each, with 20 of them 1.4 s (BenchmarkBind).
	UserPassword = "userPassword"
	// ApplicationPassword is of the schema voPerson, with an option for each
	// service: voPersonApplicationPassword;app-SERVICE.
	ApplicationPassword = "voPersonApplicationPassword"
)

// ProvisionerOptions say how the secrets of service tokens get into a
// directory.
type ProvisionerOptions struct {
	Name  string
	Order int
	// Attribute is UserPassword, the default, or ApplicationPassword.
	Attribute string
	// Scheme is how the server keeps them; default secret.SchemeARGON2. With
	// secret.InsecureClearText a server must not hash on its own: what it
	// keeps would not be what is withdrawn.
	Scheme secret.Scheme
	// Encode is that of secret.Hasher.
	Encode func(context.Context, secret.Scheme, secret.Secret) ([]byte, error)
}

// Provisioner writes the secrets of service tokens to the entries of their
// owners. It adds and removes exactly its own values, and never reads any.
type Provisioner struct {
	d *Directory
	o ProvisionerOptions
}

var _ provision.Provisioner = (*Provisioner)(nil)

// NewProvisioner makes a provisioner of a directory, whose bind DN must be
// allowed to add and remove values of the attribute. Its errors are
// token.ErrUsage. A directory for this had better have a canary: without one,
// who may no longer see an entry takes it for gone, and a value in it for
// withdrawn.
func NewProvisioner(d *Directory, o ProvisionerOptions) (*Provisioner, error) {
	o.Attribute = cmp.Or(o.Attribute, UserPassword)
	o.Scheme = cmp.Or(o.Scheme, secret.SchemeARGON2)
	switch {
	case o.Attribute != UserPassword && o.Attribute != ApplicationPassword:
		return nil, d.usage("passwords of applications are kept in %s or %s, not in %q", UserPassword, ApplicationPassword, o.Attribute)
	case d.o.BindDN == "" && !d.o.BindExternal:
		return nil, d.usage("it is searched anonymously, and so nobody may write").WithHint("set bind_dn or bind_external")
	}
	return &Provisioner{d, o}, nil
}

// Name implements [provision.Provisioner].
func (p *Provisioner) Name() string { return p.o.Name }

// Order implements [provision.Provisioner].
func (p *Provisioner) Order() int { return p.o.Order }

// Serves implements [provision.Provisioner]: the people of the directory.
func (p *Provisioner) Serves(o token.Owner) bool { return o.Realm == p.d.o.Realm }

// Prepare implements [provision.Provisioner]: the text that is to be a value.
func (p *Provisioner) Prepare(ctx context.Context, t provision.Target, s secret.Secret) ([]byte, error) {
	if _, err := p.attribute(t.Service); err != nil {
		return nil, err
	}
	return p.o.Encode(ctx, p.o.Scheme, s)
}

// attribute is where the values of a service stand. A service is an option of
// the attribute, and so a word of letters, digits and hyphens (RFC 4512 §2.5).
func (p *Provisioner) attribute(service string) (string, error) {
	if p.o.Attribute == UserPassword {
		return UserPassword, nil
	}
	if service == "" || !isAttribute("x"+service) || strings.Contains(service, ".") {
		return "", token.Errorf(token.ErrUsage, "the service %q cannot be an option of %s: it holds more than letters, digits and hyphens", service, ApplicationPassword).
			WithHint("call the service otherwise, or provision it to %s", UserPassword)
	}
	return ApplicationPassword + ";app-" + service, nil
}

// Apply implements [provision.Provisioner]. Additions come first, so that a
// replaced secret leaves no time without one.
func (p *Provisioner) Apply(ctx context.Context, e *provision.Event) error {
	attribute, err := p.attribute(e.Service)
	if err != nil {
		return err
	}
	entries, err := p.entries(ctx, e)
	if err != nil {
		return err
	}
	for _, v := range e.Present {
		m := goldap.NewModifyRequest(entries[0], nil)
		m.Add(attribute, []string{string(v)})
		if err := p.modify(ctx, m, attribute, goldap.LDAPResultAttributeOrValueExists); err != nil {
			return err
		}
	}
	for _, dn := range entries {
		for _, v := range e.Absent {
			m := goldap.NewModifyRequest(dn, nil)
			m.Delete(attribute, []string{string(v)})
			// An attribute that the server does not know has no values.
			if err := p.modify(ctx, m, attribute, goldap.LDAPResultNoSuchAttribute, goldap.LDAPResultUndefinedAttributeType); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries are where the owner is: first the entry of the name, and to withdraw
// from, the one that had the name when the token was made. None is left if
// nothing is to be added to any.
func (p *Provisioner) entries(ctx context.Context, e *provision.Event) ([]string, error) {
	d := p.d
	v := directory.Verdict{Identity: directory.Identity{Owner: e.Owner}}
	if v.Why = directory.Doubt(d, e.Owner); v.Why != "" {
		return nil, d.cannotTell("%s: %s", e.Owner, v.Why)
	}
	found, err := d.find(ctx, &v)
	switch {
	case err != nil:
		return nil, err
	case v.State == directory.CannotTell:
		// One doubtful entry does not make the directory out of reach.
		return nil, token.Errorf(token.ErrConflict, "the entry of %s is in doubt: %s", e.Owner, v.Why)
	case v.State == directory.Absent && len(e.Present) > 0:
		return nil, token.Errorf(token.ErrNotFound, "%s has no entry in the directory %s: %s", e.Owner, d.o.Realm, v.Why)
	case len(found.names) > 1 && len(e.Present) > 0:
		return nil, token.Errorf(token.ErrConflict, "%s has %d names: %q", found.dn, len(found.names), found.names)
	case v.State == directory.Present && len(e.Present) > 0 && e.EntryID != "" && v.EntryID != e.EntryID:
		return nil, token.Errorf(token.ErrRefused, "%s is another person now: its %s is %s, and was %s", found.dn, d.o.EntryIDAttribute, v.EntryID, e.EntryID)
	}
	var entries []string
	if v.State == directory.Present {
		entries = append(entries, found.dn)
	}
	if len(e.Present) > 0 && e.EntryID == "" {
		e.EntryID = v.EntryID // who gets the first value is whose the token is
	}
	if len(e.Absent) == 0 || e.EntryID == "" || v.EntryID == e.EntryID || strings.EqualFold(d.o.EntryIDAttribute, "objectGUID") {
		return entries, nil
	}
	renamed, err := p.withID(ctx, e.EntryID)
	return append(entries, renamed...), err
}

// withID finds the entry of an unchanging id, whatever its name is by now.
func (p *Provisioner) withID(ctx context.Context, id string) (entries []string, err error) {
	d := p.d
	filter := "(" + d.o.EntryIDAttribute + "=" + goldap.EscapeFilter(id) + ")"
	var result *goldap.SearchResult
	err = d.pool.with(ctx, func(c *conn) (err error) {
		result, err = d.search(ctx, c, d.base, d.scope, filter, 2, []string{"1.1"}) // no attributes, RFC 4511 §4.5.1.8
		return err
	})
	if err != nil {
		return nil, d.explain(err, d.base)
	}
	for _, e := range result.Entries {
		entries = append(entries, e.DN)
	}
	return entries, nil
}

// modify changes one value. The codes given say that it is changed already.
func (p *Provisioner) modify(ctx context.Context, m *goldap.ModifyRequest, attribute string, already ...uint16) error {
	d := p.d
	err := d.pool.with(ctx, func(c *conn) error {
		return c.within(ctx, d.o.Timeout, func() error { return c.Modify(m) })
	})
	var code uint16
	if e := (*goldap.Error)(nil); errors.As(err, &e) {
		code = e.ResultCode
	}
	var ours *token.Error
	switch {
	case err == nil || slices.Contains(already, code):
		return nil
	case errors.As(err, &ours): // of dialling
		return err
	case errors.Is(err, errSilent) || !answered(err):
		return d.cannotTell("whether %s was changed: %w", m.DN, said{err})
	case code == goldap.LDAPResultInsufficientAccessRights:
		return token.Errorf(token.ErrRefused, "%s may not write %s of %s: %w", p.who(), attribute, m.DN, said{err}).
			WithHint("give it the right to add and delete values of %s there", p.o.Attribute)
	case code == goldap.LDAPResultUndefinedAttributeType:
		return token.Errorf(token.ErrUsage, "the server knows no attribute %s: %w", attribute, said{err}).
			WithHint("load the schema voPerson, and let attributes have options that begin with app- (OpenLDAP: attributeoptions lang- app-)")
	case code == goldap.LDAPResultObjectClassViolation:
		return token.Errorf(token.ErrConflict, "no object class of %s allows %s: %w", m.DN, p.o.Attribute, said{err}).
			WithHint("give the entry one that does, such as voPerson")
	case code == goldap.LDAPResultConstraintViolation:
		return token.Errorf(token.ErrConflict, "a rule of the server is against another value in %s of %s: %w", attribute, m.DN, said{err}).
			WithHint("a password policy that wants one password only, or none that is hashed, leaves %s", ApplicationPassword)
	case code == goldap.LDAPResultReferral:
		return token.Errorf(token.ErrConflict, "%s is on another server, and referrals are not followed: %w", m.DN, said{err}).
			WithHint("use the url of the server that takes changes")
	}
	return token.Errorf(token.ErrRefused, "the server refuses to change %s of %s: %w", attribute, m.DN, said{err})
}

// who is known to the server as the one that writes.
func (p *Provisioner) who() string {
	return cmp.Or(p.d.o.BindDN, "who owns our certificate or process")
}
