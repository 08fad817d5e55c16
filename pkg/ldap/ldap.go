// Package ldap is a directory on an LDAP server, and a provisioner that writes to
// one. It asks about exactly those owners that it is asked about, and takes
// every error, limit, referral and surprise for what it is: a server that did
// not answer the question.
package ldap

import (
	"crypto/tls"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Options say where a directory is and how people are found in it.
type Options struct {
	Realm string

	// URL is ldap://HOST[:PORT], ldaps://HOST[:PORT] or ldapi://PATH, the path
	// of a socket with %2F for each slash (ldapi:///PATH is understood too).
	URL string
	// StartTLS turns an ldap connection into an encrypted one before anything
	// is said on it. Its failure ends the connection.
	StartTLS bool
	// CAFile has the certificates, PEM, that the server's must come from.
	// Empty: those of the system.
	CAFile string
	// CertFile and KeyFile, PEM, are what we show to the server. They are read
	// at every connection, so a renewed certificate needs no restart.
	CertFile, KeyFile string
	// InsecureClearTextPasswords allows ldap without StartTLS to a host that
	// is not this one: everybody's password can be read on the way.
	InsecureClearTextPasswords bool

	// BindDN is who asks, with the password in BindPasswordFile: mode 0600, on
	// one line, read at every connection. Empty: anonymous.
	BindDN, BindPasswordFile string
	// BindExternal has the server know us by our certificate, or on ldapi by
	// our user id (SASL EXTERNAL), and stands in the place of BindDN.
	BindExternal bool

	// BaseDN is where people are, at any depth.
	BaseDN string
	// UserFilter finds the person of a {name}; that is always what IDAttribute
	// has. Default (IDAttribute={name}).
	UserFilter string
	// UserDN is where the person of a {name} is, in the place of BaseDN and
	// UserFilter: ATTRIBUTE={name},REST. Passwords are then checked without a
	// search before, as directories want it that let only people themselves
	// see their entry.
	UserDN string
	// IDAttribute holds the owner's name, one for each person. Default uid, or
	// that of UserDN; Active Directory has sAMAccountName.
	IDAttribute string
	// EntryIDAttribute holds what stays with an entry and is never given
	// twice, RFC 4530. Default entryUUID; Active Directory has objectGUID. An
	// entry that shows none is a doubt.
	EntryIDAttribute string
	// Canary is the name of somebody who is always there.
	Canary string

	// GroupBaseDN is where groups are, at any depth. Empty: no groups.
	GroupBaseDN string
	// GroupFilter finds the groups of the person with a {dn} and {name}.
	// Default (member={dn}).
	GroupFilter string
	// Roles says what groups stand for here.
	Roles []GroupRole

	// DialTimeout bounds reaching the server, TLS included; default 5 s.
	DialTimeout time.Duration
	// Timeout bounds each bind and search; default 10 s.
	Timeout time.Duration
	// Connections is how many are open at most for searches, beside one for
	// each password that is being checked; default 4.
	Connections int
	// Batch is how many owners one search asks about; default 100.
	Batch int
}

// GroupRole gives the members of a group a role.
type GroupRole struct {
	Group string // DN
	Role  token.Role
}

// Directory is an LDAP directory.
type Directory struct {
	o        Options
	address  address
	tls      *tls.Config
	canary   token.Owner
	base     string // of the people
	scope    int
	filter   string                  // with {name}
	userRest string                  // of UserDN, after {name}; else empty
	userAttr string                  // of UserDN
	roles    map[string][]token.Role // by DN as dnKey writes it
	pool     *pool
}

var _ directory.Directory = (*Directory)(nil)

// New makes a directory. It checks the options and reads the certificates, but
// the server is first spoken to when there is something to ask. Its errors are
// token.ErrUsage.
func New(o Options) (*Directory, error) {
	d := &Directory{o: o}
	for _, prepare := range []func() error{d.prepareNames, d.prepareServer, d.preparePeople, d.prepareGroups} {
		if err := prepare(); err != nil {
			return nil, err
		}
	}
	d.pool = newPool(d.o.Connections, d.dialAndBind)
	return d, nil
}

// Realm is the realm of the people in the directory.
func (d *Directory) Realm() string { return d.o.Realm }

// Canonical is [directory.Fold], whatever the matching rule of the attribute.
func (d *Directory) Canonical(name string) (token.Owner, error) {
	return directory.Fold(d.o.Realm, name)
}

// Canary is who must be found in every search for people.
func (d *Directory) Canary() token.Owner { return d.canary }

// Close ends the connections that are idle, and later those that are not.
func (d *Directory) Close() error {
	d.pool.close()
	return nil
}

// wholeSubtree and so on are what the options can ask for.
const (
	wholeSubtree = goldap.ScopeWholeSubtree
	oneLevel     = goldap.ScopeSingleLevel
	entryItself  = goldap.ScopeBaseObject
)
