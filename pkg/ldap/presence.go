package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Presence asks in batches. Whoever was not found in one, or not plainly, is
// asked about singly; so nobody is absent without a question of their own.
func (d *Directory) Presence(ctx context.Context, owners []token.Owner) ([]directory.Verdict, error) {
	verdicts := make([]directory.Verdict, len(owners))
	askable := make([]*directory.Verdict, 0, len(owners))
	for i, o := range owners {
		v := &verdicts[i]
		v.Owner = o
		if v.Why = directory.Doubt(d, o); v.Why == "" {
			askable = append(askable, v)
		}
	}
	for batch := range slices.Chunk(askable, d.o.Batch) {
		if err := d.settle(ctx, batch); err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}

// settle finds verdicts, by halves if an answer is cut off for its size.
func (d *Directory) settle(ctx context.Context, batch []*directory.Verdict) error {
	names := make([]string, len(batch))
	for i, v := range batch {
		names[i] = v.Owner.Name
	}
	a, err := d.ask(ctx, names)
	if errors.Is(err, errLimit) && len(batch) > 1 {
		if err := d.settle(ctx, batch[:len(batch)/2]); err != nil {
			return err
		}
		return d.settle(ctx, batch[len(batch)/2:])
	}
	if errors.Is(err, errLimit) {
		batch[0].Why = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	for _, v := range batch {
		d.judge(v, a)
		if v.State != directory.Present && len(batch) > 1 {
			if err := d.settle(ctx, []*directory.Verdict{v}); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge says what an answer says of one owner. Absent is meant only if nobody
// else was asked about.
func (d *Directory) judge(v *directory.Verdict, a answer) {
	found := a.people[v.Owner.Name]
	v.State = directory.CannotTell
	switch {
	case len(found) > 1:
		v.Why = fmt.Sprintf("%d entries have the name: %s, %s", len(found), found[0].dn, found[1].dn)
	case len(found) == 1 && found[0].id == "":
		v.Why = fmt.Sprintf("%s shows no %s", found[0].dn, d.o.EntryIDAttribute) + ", or several"
	case len(found) == 1:
		v.State, v.Why, v.Identity = directory.Present, "", found[0].identity(v.Owner)
	case len(a.strangers) > 0:
		v.Why = fmt.Sprintf("the search found %s, whose %s is another", a.strangers[0], d.o.IDAttribute)
	case a.referral != "":
		v.Why = "may be at " + a.referral + ": referrals are not followed"
	default:
		v.State, v.Why = directory.Absent, "no entry below "+d.base
	}
}

// Lookup asks about one owner, and for their groups.
func (d *Directory) Lookup(ctx context.Context, owner token.Owner) (directory.Verdict, error) {
	v := directory.Verdict{Identity: directory.Identity{Owner: owner}}
	if v.Why = directory.Doubt(d, owner); v.Why != "" {
		return v, nil
	}
	p, err := d.find(ctx, &v)
	if err != nil || v.State != directory.Present {
		return v, err
	}
	if err := d.addGroups(ctx, &v.Identity, p.dn, nil); err != nil {
		return directory.Verdict{Identity: directory.Identity{Owner: owner}}, err
	}
	return v, nil
}

// find fills in the verdict on an owner, and returns who that is if present.
func (d *Directory) find(ctx context.Context, v *directory.Verdict) (person, error) {
	a, err := d.ask(ctx, []string{v.Owner.Name})
	if err != nil {
		return person{}, err
	}
	if d.judge(v, a); v.State != directory.Present {
		return person{}, nil
	}
	return a.people[v.Owner.Name][0], nil
}

// maxGroups bounds the groups of one person.
const maxGroups = 5000

// addGroups asks for groups, on a connection of the pool unless one is given.
// One that is on another server (a referral) is not seen, and gives no role.
func (d *Directory) addGroups(ctx context.Context, id *directory.Identity, dn string, on *conn) error {
	if d.o.GroupBaseDN == "" {
		return nil
	}
	filter := strings.NewReplacer("{dn}", goldap.EscapeFilter(dn), "{name}", goldap.EscapeFilter(id.Owner.Name)).Replace(d.o.GroupFilter)
	var result *goldap.SearchResult
	ask := func(c *conn) (err error) {
		result, err = d.search(ctx, c, d.o.GroupBaseDN, wholeSubtree, filter, maxGroups, []string{"1.1"}) // no attributes, RFC 4511 §4.5.1.8
		return err
	}
	var err error
	if on != nil {
		err = ask(on)
	} else {
		err = d.pool.with(ctx, ask)
	}
	if err != nil {
		return d.explain(err, d.o.GroupBaseDN)
	}
	for _, e := range result.Entries {
		id.Groups = append(id.Groups, e.DN)
	}
	slices.Sort(id.Groups)
	id.Roles = d.rolesOf(id.Groups)
	return nil
}

// Authenticate finds whose name it is, binds as them on a connection that is
// used for nothing else, and finds them again: the entry that was found must
// be the one whose password it was.
func (d *Directory) Authenticate(ctx context.Context, name string, password secret.Secret) (directory.Identity, error) {
	none := directory.Identity{}
	if password.IsZero() {
		return none, d.refused("an empty password")
	}
	owner, err := d.Canonical(name)
	if err != nil {
		return none, d.refused("%v", err)
	}
	if d.userAttr != "" {
		return d.authenticateByDN(ctx, owner, password)
	}
	before := directory.Verdict{Identity: directory.Identity{Owner: owner}}
	p, err := d.find(ctx, &before)
	if err == nil {
		err = d.mayLogIn(before, p)
	}
	if err != nil {
		return none, err
	}
	c, err := d.bindAs(ctx, p.dn, password)
	if err != nil {
		return none, err
	}
	c.Close()
	after, err := d.Lookup(ctx, owner)
	if err != nil {
		return none, err
	}
	if after.State != directory.Present || after.EntryID != before.EntryID {
		return none, d.refused("the entry of %s was replaced during the log-in", owner)
	}
	return after.Identity, nil
}

// authenticateByDN knows the DN from the name alone, and reads the entry as the
// person whom it stands for.
func (d *Directory) authenticateByDN(ctx context.Context, owner token.Owner, password secret.Secret) (directory.Identity, error) {
	none := directory.Identity{}
	dn := d.userDN(owner.Name)
	c, err := d.bindAs(ctx, dn, password)
	if err != nil {
		return none, err
	}
	defer c.Close()
	result, err := d.search(ctx, c, dn, entryItself, "(objectClass=*)", 1, d.attributes())
	if err != nil {
		return none, d.explain(err, dn)
	}
	a := answer{people: map[string][]person{owner.Name: nil}}
	var p person
	for _, e := range result.Entries {
		p = d.person(e)
		a.add(p)
	}
	v := directory.Verdict{Identity: directory.Identity{Owner: owner}}
	d.judge(&v, a)
	if err := d.mayLogIn(v, p); err != nil {
		return none, err
	}
	on := c
	if d.o.BindDN != "" || d.o.BindExternal {
		on = nil
	}
	if err := d.addGroups(ctx, &v.Identity, p.dn, on); err != nil {
		return none, err
	}
	return v.Identity, nil
}

// userDN is where the person of a canonical name is.
func (d *Directory) userDN(name string) string {
	return d.userAttr + "=" + goldap.EscapeDN(name) + "," + d.userRest
}

// mayLogIn refuses whoever is not there, disabled, or has more than one name:
// each would be an owner, with wrong passwords to spare.
func (d *Directory) mayLogIn(v directory.Verdict, p person) error {
	switch {
	case v.State == directory.Absent:
		return d.refused("%s: %s", v.Owner, v.Why)
	case v.State == directory.CannotTell:
		return d.cannotTell("%s: %s", v.Owner, v.Why)
	case v.Disabled:
		return d.refused("%s is disabled there", v.Owner)
	case len(p.names) > 1:
		return d.cannotTell("%s has %d names: %q", p.dn, len(p.names), p.names).
			WithHint("choose an id_attribute that has one value")
	}
	return nil
}

// wrongPassword are the codes by which servers refuse somebody's log-in, and
// not the server's service: wrong or expired password, none set, locked,
// unknown DN, not now or not from here.
var wrongPassword = []uint16{
	goldap.LDAPResultInvalidCredentials, goldap.LDAPResultInappropriateAuthentication,
	goldap.LDAPResultUnwillingToPerform, goldap.LDAPResultInsufficientAccessRights,
	goldap.LDAPResultConstraintViolation, goldap.LDAPResultNoSuchObject, goldap.LDAPResultInvalidDNSyntax,
}

// bindAs checks a password, which is not empty.
func (d *Directory) bindAs(ctx context.Context, dn string, password secret.Secret) (*conn, error) {
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	err = c.within(ctx, d.o.Timeout, func() error { return c.Bind(dn, password.Reveal()) })
	if err == nil {
		return c, nil
	}
	c.Close()
	if goldap.IsErrorAnyOf(err, wrongPassword...) {
		return nil, d.refused("the bind as %s: %w", dn, said{err})
	}
	return nil, d.cannotTell("the bind as %s: %w", dn, said{err})
}

func (d *Directory) refused(format string, args ...any) error {
	err := token.Errorf(token.ErrRefused, format, args...)
	err.Message = "the directory " + d.o.Realm + " refuses: " + err.Message
	return err
}
