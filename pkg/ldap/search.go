package ldap

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// person is an entry that stands for somebody.
type person struct {
	dn          string
	names       []string // canonical, without those that cannot be
	id          string
	displayName string
	disabled    bool
}

// Attributes by which servers say that somebody may not log in.
const (
	adControl   = "userAccountControl"   // Active Directory: bit 2 is ACCOUNTDISABLE
	nsLock      = "nsAccountLock"        // 389 Directory Server, FreeIPA
	ppolicyLock = "pwdAccountLockedTime" // OpenLDAP: 000001010000Z is for ever, other times pass
	edirectory  = "loginDisabled"
)

func (d *Directory) attributes() []string {
	return []string{d.o.IDAttribute, d.o.EntryIDAttribute, "displayName", "cn", adControl, nsLock, ppolicyLock, edirectory}
}

func (d *Directory) person(e *goldap.Entry) person {
	p := person{dn: e.DN, id: entryID(e, d.o.EntryIDAttribute), disabled: disabled(e)}
	for _, name := range e.GetEqualFoldAttributeValues(d.o.IDAttribute) {
		if o, err := d.Canonical(name); err == nil {
			p.names = append(p.names, o.Name)
		}
	}
	if p.displayName = e.GetEqualFoldAttributeValue("displayName"); p.displayName == "" {
		p.displayName = e.GetEqualFoldAttributeValue("cn")
	}
	return p
}

func (p person) identity(o token.Owner) directory.Identity {
	return directory.Identity{Owner: o, EntryID: p.id, DisplayName: p.displayName, Disabled: p.disabled}
}

func disabled(e *goldap.Entry) bool {
	control, _ := strconv.ParseInt(e.GetEqualFoldAttributeValue(adControl), 10, 64)
	return control&2 != 0 ||
		strings.EqualFold(e.GetEqualFoldAttributeValue(nsLock), "true") ||
		strings.EqualFold(e.GetEqualFoldAttributeValue(edirectory), "true") ||
		e.GetEqualFoldAttributeValue(ppolicyLock) == "000001010000Z"
}

// entryID is the unchanging id as text. That of Active Directory is 16 bytes,
// of which its tools show the first three groups in little-endian order.
func entryID(e *goldap.Entry, attribute string) string {
	values := e.GetEqualFoldRawAttributeValues(attribute)
	if len(values) != 1 {
		return "" // of several nobody knows which
	}
	b := values[0]
	switch {
	case strings.EqualFold(attribute, "objectGUID") && len(b) == 16:
		return fmt.Sprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%x-%x", b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8:10], b[10:])
	case !utf8.Valid(b):
		return hex.EncodeToString(b)
	case isUUID(b): // its case means nothing, RFC 4530 §2.2
		return strings.ToLower(string(b))
	}
	return string(b)
}

func isUUID(b []byte) bool {
	for i, c := range b {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return len(b) == 36
}

// answer is what a search for people by name has found.
type answer struct {
	people    map[string][]person // by the names asked for
	strangers []string            // DNs found, of people with none of these names
	referral  string              // a part of the tree is on another server
}

// errLimit says that an answer was cut off: it names some of those found, and
// nobody who is not.
var errLimit = errors.New("size limit")

// ask searches for people by canonical names, and for the canary with them: in
// one search there is no telling the one without the other. The error is
// token.ErrCannotTell, and wraps errLimit if fewer names may do.
func (d *Directory) ask(ctx context.Context, names []string) (a answer, err error) {
	if !d.canary.IsZero() {
		names = append(slices.Clip(names), d.canary.Name)
	}
	a.people = make(map[string][]person, len(names))
	for _, name := range names {
		a.people[name] = nil
	}
	var result *goldap.SearchResult
	err = d.pool.with(ctx, func(c *conn) (err error) {
		result, err = d.search(ctx, c, d.base, d.scope, d.anyOf(names), 2*len(a.people), d.attributes())
		return err
	})
	if err != nil {
		return a, d.explain(err, d.base)
	}
	for _, e := range result.Entries {
		a.add(d.person(e))
	}
	if len(result.Referrals) > 0 {
		a.referral = result.Referrals[0]
	}
	if !d.canary.IsZero() && len(a.people[d.canary.Name]) == 0 {
		return a, d.noCanary(a)
	}
	return a, nil
}

// anyOf is the filter that finds people by canonical names.
func (d *Directory) anyOf(names []string) string {
	var b strings.Builder
	b.WriteString("(|")
	for _, name := range names {
		b.WriteString(strings.ReplaceAll(d.filter, "{name}", goldap.EscapeFilter(name)))
	}
	b.WriteString(")")
	return b.String()
}

func (a *answer) add(p person) {
	stranger := true
	for _, name := range p.names {
		if _, asked := a.people[name]; asked {
			a.people[name] = append(a.people[name], p)
			stranger = false
		}
	}
	if stranger {
		a.strangers = append(a.strangers, p.dn)
	}
}

func (d *Directory) noCanary(a answer) error {
	where := ""
	if a.referral != "" {
		where = ", and a part of the tree is at " + a.referral + ", where a referral is not followed to"
	}
	return d.cannotTell("the canary %s was not found below %s%s", d.canary.Name, d.base, where).
		WithHint("base_dn, user_filter, id_attribute or the rights of bind_dn are wrong, or the canary is gone")
}

// search asks one question. Aliases and referrals are not followed. More
// entries than limit are an error of the server's kind.
func (d *Directory) search(ctx context.Context, c *conn, base string, scope int, filter string, limit int, attributes []string) (result *goldap.SearchResult, err error) {
	request := &goldap.SearchRequest{
		BaseDN: base, Scope: scope, DerefAliases: goldap.NeverDerefAliases,
		Filter: filter, Attributes: attributes,
		SizeLimit: limit, EnforceSizeLimit: true,
		TimeLimit: int(math.Ceil(d.o.Timeout.Seconds())),
	}
	err = c.within(ctx, d.o.Timeout, func() (err error) {
		result, err = c.Search(request)
		return err
	})
	cut := goldap.IsErrorAnyOf(err, goldap.LDAPResultSizeLimitExceeded, goldap.LDAPResultTimeLimitExceeded, goldap.LDAPResultAdminLimitExceeded)
	switch {
	case errors.Is(err, goldap.ErrSizeLimitExceeded) || cut && len(result.Entries) >= limit:
		return nil, fmt.Errorf("%w: more than %d entries match, so more than were asked for (%w)", errLimit, limit, said{err})
	case cut:
		return nil, fmt.Errorf("%w: the answer was cut off after %d entries (%w)", errLimit, len(result.Entries), said{err})
	}
	return result, err
}

// explain turns the error of a search below base into a CannotTell that says
// which.
func (d *Directory) explain(err error, base string) error {
	var ours *token.Error
	switch {
	case errors.As(err, &ours): // of dialling
		return err
	case errors.Is(err, errLimit):
		return d.cannotTell("%w", err)
	case errors.Is(err, errSilent):
		return d.cannotTell("no answer to a search within %s: %w", d.o.Timeout, err)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return d.cannotTell("the search was given up: %w", err)
	case goldap.IsErrorWithCode(err, goldap.LDAPResultNoSuchObject):
		return d.cannotTell("the base %q does not exist, or may not be seen: %w", base, said{err})
	case goldap.IsErrorWithCode(err, goldap.LDAPResultReferral):
		return d.cannotTell("the base %q is on another server, and referrals are not followed: %w", base, said{err})
	case answered(err):
		return d.cannotTell("it refuses the search below %q: %w", base, said{err})
	}
	return d.cannotTell("the connection was lost: %w", said{err})
}
