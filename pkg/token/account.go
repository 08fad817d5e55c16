package token

import (
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// AccountKind says whether an account is a person's.
type AccountKind string

// The kinds of account.
const (
	Person         AccountKind = "person"
	ServiceAccount AccountKind = "service" // has a steward, a person
)

// ParseAccountKind reads the name of a kind of account.
func ParseAccountKind(s string) (AccountKind, error) {
	switch k := AccountKind(s); k {
	case Person, ServiceAccount:
		return k, nil
	}
	return "", Errorf(ErrUsage, "unknown kind of account %q", s).WithHint("kinds of account are person and service")
}

// Account is what tokenctl knows of an owner.
type Account struct {
	Owner       Owner
	Kind        AccountKind
	DisplayName string
	Roles       []Role
	Steward     Owner // service accounts only
	Disabled    bool  // refuses all of the owner's tokens at once
	CreatedAt   time.Time
	CreatedBy   Owner
	// EntryID is what the owner's directory calls this person for ever: whoever
	// has the name under another one is another person. Empty: never learnt.
	EntryID string
	// Successor is the EntryID of another person who has the name now, while what
	// this one had is being ended; empty but then.
	Successor string
	// DirectoryRoles are the roles that the directory gave, at RolesAt.
	DirectoryRoles []Role
	RolesAt        time.Time
	// Identities are those at identity providers that stand for this account.
	// None stands for two.
	Identities []LinkedIdentity
	// Password checks the password of a local account; nil: it has none. It is
	// never shown.
	Password secret.Verifier
	// HasPassword says of an account that is shown whether it has one.
	HasPassword bool
	// WrongPasswords counts the tries to show the old password since one was
	// right, those under way among them.
	WrongPasswords int
	Revision       uint64
}

// Off reports whether the owner's tokens are refused.
func (a *Account) Off() bool { return a.Disabled || a.Successor != "" }

// AllRoles are the roles of the account at a moment, whoever gave them, sorted.
func (a *Account) AllRoles(now time.Time) []Role {
	all := a.Roles
	if len(a.DirectoryRoles) > 0 {
		all = slices.Concat(all, a.DirectoryRoles)
	}
	for _, i := range a.Identities {
		if len(i.Roles) > 0 && now.Before(i.RolesUntil) {
			all = slices.Concat(all, i.Roles)
		}
	}
	if len(all) == len(a.Roles) {
		return a.Roles
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Identity is one of the account's external identities, or nil.
func (a *Account) Identity(e ExternalIdentity) *LinkedIdentity {
	for i := range a.Identities {
		if a.Identities[i].ExternalIdentity == e {
			return &a.Identities[i]
		}
	}
	return nil
}

// maxIdentities is how many external identities may stand for an account.
const maxIdentities = 20

// Check says what is wrong with the account as such.
func (a *Account) Check() error {
	if _, err := ParseAccountKind(string(a.Kind)); err != nil {
		return err
	}
	if (a.Kind == ServiceAccount) != !a.Steward.IsZero() {
		return Errorf(ErrUsage, "service accounts, and only they, have a steward").WithHint("use --kind service --steward PERSON")
	}
	if a.Steward == a.Owner {
		return Errorf(ErrUsage, "%s cannot be its own steward", a.Owner)
	}
	if err := checkRoles(a.Roles); err != nil {
		return err
	}
	if len(a.Identities) > maxIdentities {
		return Errorf(ErrUsage, "there are %d identities linked to %s, more than %d", len(a.Identities), a.Owner, maxIdentities)
	}
	return checkText("display name", a.DisplayName)
}

// maxRoles is how many roles an account or a token may have.
const maxRoles = 100

func checkRoles(roles []Role) error {
	if len(roles) > maxRoles {
		return Errorf(ErrUsage, "there are %d roles, more than %d", len(roles), maxRoles)
	}
	for _, r := range roles {
		if _, err := ParseRole(string(r)); err != nil {
			return err
		}
	}
	return nil
}

// maxText bounds free text that is kept: display names and reasons, in bytes.
const maxText = 1024

func checkText(what, s string) error {
	if len(s) > maxText {
		return Errorf(ErrUsage, "the %s has %d bytes, more than %d", what, len(s), maxText)
	}
	if secret.Contains(s) {
		return Errorf(ErrUsage, "the %s holds a secret", what).WithHint("it has been in the open: revoke it")
	}
	return nil
}

// CheckReason bounds the free text that says why something was done.
func CheckReason(s string) error { return checkText("reason", s) }
