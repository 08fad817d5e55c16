package token

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// LocalRealm is the realm of accounts that only tokenctl knows.
const LocalRealm = "local"

// Owner is whose a token is: a realm and a name in it, in canonical form. The
// same name in two realms is two owners.
type Owner struct{ Realm, Name string }

// maxOwnerName bounds an owner's name, in bytes. OpenID Connect Core §2 limits
// a subject to 255 characters.
const maxOwnerName = 255

// ParseOwner reads realm/name; a bare name is of the realm local. All after
// the first slash is the name: an identity provider's subject may hold more.
func ParseOwner(s string) (Owner, error) {
	realm, name, found := strings.Cut(s, "/")
	if !found {
		realm, name = LocalRealm, s
	}
	return NewOwner(realm, name)
}

// NewOwner makes the one canonical form of an owner, which everything that
// creates, verifies, locks out or purges goes by: Unicode NFC, without space
// around it, in the realm local without upper case. Names with control,
// invisible or direction-changing characters are refused: they could pass for
// another's.
func NewOwner(realm, name string) (Owner, error) {
	if err := CheckName("realm", realm); err != nil {
		return Owner{}, err
	}
	if !utf8.ValidString(name) {
		return Owner{}, Errorf(ErrUsage, "owner name %q is not valid UTF-8", name)
	}
	for _, c := range name {
		if invisible(c) {
			return Owner{}, Errorf(ErrUsage, "owner name %q holds the control or invisible character %U", name, c)
		}
	}
	name = strings.TrimSpace(norm.NFC.String(name))
	if realm == LocalRealm {
		name = norm.NFC.String(strings.ToLower(name))
	}
	switch {
	case name == "":
		return Owner{}, Errorf(ErrUsage, "an owner's name is empty").WithHint("write realm/name, or a bare name for the realm %s", LocalRealm)
	case len(name) > maxOwnerName:
		return Owner{}, Errorf(ErrUsage, "owner name of %d bytes is over %d", len(name), maxOwnerName)
	}
	return Owner{realm, name}, nil
}

// PlainName is the plainest form of a name, to which a directory may bring all
// that it compares (RFC 4518 §2): without compatibility characters, in lower
// case, with no runs of spaces.
func PlainName(name string) string {
	return strings.Join(strings.Fields(norm.NFC.String(strings.ToLower(norm.NFKC.String(name)))), " ")
}

// invisible says whether a character shows nothing where it stands. The blank
// of braille is a symbol to Unicode.
func invisible(c rune) bool {
	return !unicode.IsGraphic(c) || c != ' ' && unicode.IsSpace(c) || c == '\u2800' ||
		unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func (o Owner) String() string {
	if o.IsZero() {
		return ""
	}
	return o.Realm + "/" + o.Name
}

// IsZero says that no owner is named.
func (o Owner) IsZero() bool { return o == Owner{} }

// MarshalText gives realm/name.
func (o Owner) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads realm/name; empty text is no owner.
func (o *Owner) UnmarshalText(b []byte) (err error) {
	*o = Owner{}
	if len(b) > 0 {
		*o, err = ParseOwner(string(b))
	}
	return err
}

const maxName = 64

// CheckName says whether s may name what ("token name", "realm", …): 1 to 64 of
// A-Z a-z 0-9 . _ : -, not starting with a hyphen, and not looking like a
// token's id, so that an argument is never both.
func CheckName(what, s string) error {
	switch {
	case s == "":
		return Errorf(ErrUsage, "the %s is empty", what)
	case len(s) > maxName:
		return Errorf(ErrUsage, "the %s has %d characters, more than %d", what, len(s), maxName)
	case secret.Contains(s):
		return Errorf(ErrUsage, "the %s holds a secret", what).WithHint("it has been in the open: revoke it")
	case s[0] == '-':
		return Errorf(ErrUsage, "the %s %q starts with a hyphen", what, s)
	case secret.LooksLikeID(s):
		return Errorf(ErrUsage, "the %s %q looks like a token id", what, s).WithHint("choose one that is not 16 letters and digits long")
	}
	for _, c := range s {
		if c >= utf8.RuneSelf || !nameChar(byte(c)) {
			return Errorf(ErrUsage, "the %s %q holds %q", what, s, c).WithHint("allowed are letters, digits, '.', '_', ':' and '-'")
		}
	}
	return nil
}

func nameChar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._:-", c) >= 0
}

// Role is a right, as the applications that ask name it.
type Role string

// The roles that mean something to tokenctl itself.
const (
	Admin      Role = "tokenctl:admin"      // everything; counts as every role
	Auditor    Role = "tokenctl:auditor"    // reading everything
	Introspect Role = "tokenctl:introspect" // asking about others' tokens
)

// ParseRole reads the name of a role.
func ParseRole(s string) (Role, error) {
	if err := CheckName("role", s); err != nil {
		return "", err
	}
	return Role(s), nil
}

// ParseRoles reads names of roles and returns them sorted, each once.
func ParseRoles(names []string) ([]Role, error) {
	roles := make([]Role, 0, len(names))
	for _, name := range names {
		r, err := ParseRole(name)
		if err != nil {
			return nil, err
		}
		roles = append(roles, r)
	}
	slices.Sort(roles)
	return slices.Compact(roles), nil
}

// IntersectRoles keeps of the wanted roles those that are held. Holding
// [Admin] counts as holding every role. The result is never nil.
func IntersectRoles(wanted, held []Role) []Role {
	both := make([]Role, 0, len(wanted))
	all := slices.Contains(held, Admin)
	for _, r := range wanted {
		if all || slices.Contains(held, r) {
			both = append(both, r)
		}
	}
	return both
}
