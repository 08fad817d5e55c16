package ldap

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func (d *Directory) prepareNames() error {
	if _, err := directory.Fold(d.o.Realm, "x"); err != nil {
		return err
	}
	d.o.DialTimeout = cmp.Or(d.o.DialTimeout, 5*time.Second)
	d.o.Timeout = cmp.Or(d.o.Timeout, 10*time.Second)
	d.o.Connections = cmp.Or(d.o.Connections, 4)
	d.o.Batch = cmp.Or(d.o.Batch, 100)
	d.o.EntryIDAttribute = cmp.Or(d.o.EntryIDAttribute, "entryUUID")
	if d.o.DialTimeout < 0 || d.o.Timeout < 0 || d.o.Connections < 0 || d.o.Batch < 0 {
		return d.usage("timeouts and numbers are positive")
	}
	if d.o.Canary != "" {
		var err error
		if d.canary, err = d.Canonical(d.o.Canary); err != nil {
			return err
		}
	}
	return nil
}

// address is where a server listens.
type address struct {
	network, host string // tcp and HOST:PORT, or unix and a path
	name          string // that the certificate must have
	tls           bool   // from the first byte
}

func parseURL(text string) (a address, err error) {
	if path, ok := strings.CutPrefix(text, "ldapi://"); ok { // whose %2F net/url takes for an error
		a.network = "unix"
		if a.host, err = url.PathUnescape(path); err == nil && !strings.HasPrefix(a.host, "/") {
			err = token.Errorf(token.ErrUsage, "no path of a socket")
		}
		return a, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return a, err
	}
	ports := map[string]string{"ldap": "389", "ldaps": "636"}
	switch {
	case ports[u.Scheme] == "":
		return a, token.Errorf(token.ErrUsage, "it begins with neither ldap://, ldaps:// nor ldapi://")
	case u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return a, token.Errorf(token.ErrUsage, "it is not %s://HOST:PORT", u.Scheme)
	}
	a = address{network: "tcp", name: u.Hostname(), tls: u.Scheme == "ldaps"}
	a.host = net.JoinHostPort(a.name, cmp.Or(u.Port(), ports[u.Scheme]))
	return a, nil
}

// loopback reports whether what is said to an address stays on this machine.
func (a address) loopback() bool {
	ip := net.ParseIP(a.name)
	return a.network == "unix" || a.name == "localhost" || ip != nil && ip.IsLoopback()
}

func (d *Directory) prepareServer() (err error) {
	o := &d.o
	if d.address, err = parseURL(o.URL); err != nil {
		return d.usage("the url %q cannot be used: %v", o.URL, err)
	}
	encrypted := d.address.tls || o.StartTLS
	switch {
	case o.StartTLS && (d.address.tls || d.address.network == "unix"):
		return d.usage("start_tls is for urls that begin with ldap://")
	case !encrypted && !d.address.loopback() && !o.InsecureClearTextPasswords:
		return d.usage("passwords would go to %s in clear text", d.address.host).
			WithHint("use ldaps:// or start_tls; insecure_clear_text_passwords would let everybody on the way read them")
	case !encrypted && (o.CAFile != "" || o.CertFile != ""):
		return d.usage("certificates are for ldaps:// or start_tls")
	case (o.CertFile == "") != (o.KeyFile == ""):
		return d.usage("a client certificate needs its key, and a key its certificate")
	case (o.BindDN == "") != (o.BindPasswordFile == ""):
		return d.usage("a bind_dn needs a bind_password_file, and that a bind_dn")
	case o.BindExternal && o.BindDN != "":
		return d.usage("bind_external stands in the place of bind_dn")
	case o.BindExternal && o.CertFile == "" && d.address.network != "unix":
		return d.usage("bind_external needs a client certificate or an ldapi:// url")
	}
	if encrypted {
		d.tls, err = d.tlsConfig()
	}
	return err
}

// isAttribute reports whether s may name an attribute: a word or an OID, RFC
// 4512 §2.5, without options. It is no regular expression, which every start of
// tokenctl would compile.
func isAttribute(s string) bool {
	other := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.')
	}
	return s != "" && s[0] != '-' && s[0] != '.' && !strings.ContainsFunc(s, other)
}

func (d *Directory) preparePeople() error {
	o := &d.o
	d.base, d.scope = o.BaseDN, wholeSubtree
	if o.UserDN != "" {
		rdn, rest, _ := strings.Cut(o.UserDN, "={name},")
		if o.BaseDN != "" || o.UserFilter != "" {
			return d.usage("user_dn stands in the place of base_dn and user_filter")
		}
		if !isAttribute(rdn) {
			return d.usage("the user_dn %q is not ATTRIBUTE={name},REST", o.UserDN)
		}
		o.IDAttribute = cmp.Or(o.IDAttribute, rdn)
		if !strings.EqualFold(o.IDAttribute, rdn) {
			return d.usage("with a user_dn its attribute, %s, is the id_attribute", rdn)
		}
		d.userAttr, d.userRest = rdn, rest
		d.base, d.scope = rest, oneLevel
	}
	o.IDAttribute = cmp.Or(o.IDAttribute, "uid")
	d.filter = cmp.Or(o.UserFilter, "("+o.IDAttribute+"={name})")
	for _, a := range []string{o.IDAttribute, o.EntryIDAttribute} {
		if !isAttribute(a) {
			return d.usage("%q is not an attribute", a)
		}
	}
	if d.base == "" {
		return d.usage("no base_dn says where people are")
	}
	if _, err := goldap.ParseDN(d.base); err != nil {
		return d.usage("the base_dn %q is not a DN: %v", d.base, err)
	}
	return d.checkFilter("user_filter", d.filter, "{name}")
}

func (d *Directory) prepareGroups() error {
	o := &d.o
	o.GroupFilter = cmp.Or(o.GroupFilter, "(member={dn})")
	d.roles = map[string][]token.Role{}
	if o.GroupBaseDN == "" && len(o.Roles) > 0 {
		return d.usage("no group_base_dn says where the groups are that have roles")
	}
	if _, err := goldap.ParseDN(o.GroupBaseDN); err != nil {
		return d.usage("the group_base_dn %q is not a DN: %v", o.GroupBaseDN, err)
	}
	for _, r := range o.Roles {
		key, err := dnKey(r.Group)
		if err != nil || r.Group == "" {
			return d.usage("the group %q is not a DN", r.Group)
		}
		role, err := token.ParseRole(string(r.Role))
		if err != nil {
			return err
		}
		d.roles[key] = append(d.roles[key], role)
	}
	return d.checkFilter("group_filter", o.GroupFilter, "{dn}", "{name}")
}

// checkFilter refuses what is no filter, and one in which nobody is named: it
// would find everybody.
func (d *Directory) checkFilter(what, filter string, names ...string) error {
	example, named := filter, false
	for _, name := range names {
		named = named || strings.Contains(filter, name)
		example = strings.ReplaceAll(example, name, "x")
	}
	if !named {
		return d.usage("the %s %q holds no %s", what, filter, strings.Join(names, " or "))
	}
	if _, err := goldap.CompileFilter(example); err != nil {
		return d.usage("the %s %q cannot be used: %v", what, filter, err)
	}
	return nil
}

// dnKey writes a DN in one way, so that those that differ in case and spaces
// alone are the same.
func dnKey(dn string) (string, error) {
	parsed, err := goldap.ParseDN(dn)
	if err != nil {
		return "", err
	}
	return strings.ToLower(parsed.String()), nil
}

// rolesOf are the roles of groups, sorted, each once.
func (d *Directory) rolesOf(groups []string) []token.Role {
	var roles []token.Role
	for _, g := range groups {
		if key, err := dnKey(g); err == nil {
			roles = append(roles, d.roles[key]...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func (d *Directory) usage(format string, args ...any) *token.Error {
	err := token.Errorf(token.ErrUsage, format, args...)
	err.Message = "the directory " + d.o.Realm + ": " + err.Message
	return err
}
