package token

import (
	"strconv"
	"strings"
	"time"
)

// Policy is the rules that a sysadmin sets. A later change never kills or
// revives tokens that are made already.
type Policy struct {
	UserTokenLifetime       time.Duration // default and maximum; 0: unlimited
	ServiceTokenLifetime    time.Duration // default and maximum; 0: unlimited
	RefreshTokenLifetime    time.Duration // default
	RefreshTokenMaxLifetime time.Duration
	AccessTokenMaxLifetime  time.Duration // caps what a connection asks for
	RefreshTokens           RefreshTokens // who may have refresh tokens
	Issuer                  string        // the iss of access tokens
	Retention               time.Duration // of tombstones, expired tokens and the audit log
	// LongestAccessLifetime is the greatest AccessTokenMaxLifetime that there
	// ever was: how long a key that signed may still be needed.
	LongestAccessLifetime time.Duration
	// DirectoryUnreachable says what becomes of an exchange while the owner's
	// directory does not answer, DirectoryMemory for how long its last answer
	// may be believed.
	DirectoryUnreachable Unreachable
	DirectoryMemory      time.Duration
	// PurgeBreaker is how many of a realm's owners, in percent, may be gone at
	// once before a purge is stopped.
	PurgeBreaker int
	// Lockout is how many wrong old passwords in a row leave an account as it
	// is. The one after disables it.
	Lockout int
	// FederatedTokenLifetime is the longest life of a token whose owner only an
	// identity provider knows, whom nobody can ask whether they are still there;
	// and for how long the roles that a provider gave are believed.
	FederatedTokenLifetime time.Duration
	Revision               uint64
}

// Unreachable says what to do while a directory does not answer.
type Unreachable string

// What to do.
const (
	Refuse    Unreachable = "refuse"
	LastKnown Unreachable = "last_known"
)

// RefreshTokens says who may have refresh tokens.
type RefreshTokens string

// Who may have refresh tokens.
const (
	Administrators RefreshTokens = "administrators" // accounts with the role tokenctl:admin
	Everyone       RefreshTokens = "everyone"
)

// DefaultPolicy is the policy of a new store.
func DefaultPolicy() Policy {
	return Policy{
		RefreshTokenLifetime:    7 * Day,
		RefreshTokenMaxLifetime: 365 * Day,
		AccessTokenMaxLifetime:  Day,
		LongestAccessLifetime:   Day,
		RefreshTokens:           Administrators,
		Issuer:                  "http://127.0.0.1:8470",
		Retention:               400 * Day,
		DirectoryUnreachable:    Refuse,
		DirectoryMemory:         Day,
		PurgeBreaker:            10,
		Lockout:                 10,
		FederatedTokenLifetime:  90 * Day,
	}
}

// LifetimeFor is the lifetime of a new token of a kind when asked is what the
// request says (0: nothing). 0 means unlimited.
func (p *Policy) LifetimeFor(k Kind, asked time.Duration) (time.Duration, error) {
	normal, limit := p.RefreshTokenLifetime, p.RefreshTokenMaxLifetime
	switch k {
	case User:
		normal, limit = p.UserTokenLifetime, p.UserTokenLifetime
	case Service:
		normal, limit = p.ServiceTokenLifetime, p.ServiceTokenLifetime
	}
	if asked == 0 {
		asked = normal
	} else if err := CheckLifetime(asked); err != nil {
		return 0, err
	}
	if limit > 0 && asked > limit {
		return 0, Errorf(ErrUsage, "lifetime %s is over the %s that policy allows a %s token", FormatDuration(asked), FormatDuration(limit), k).
			WithHint("ask for less, or let a sysadmin change it: tokenctl admin policy set")
	}
	return asked, nil
}

// LifetimeForFederated is LifetimeFor a token whose owner only an identity
// provider knows: it never has none, and no longer one than policy says.
func (p *Policy) LifetimeForFederated(k Kind, asked time.Duration) (time.Duration, error) {
	life, err := p.LifetimeFor(k, asked)
	limit := p.FederatedTokenLifetime
	switch {
	case err != nil || life > 0 && life <= limit:
		return life, err
	case asked == 0:
		return limit, nil
	}
	return 0, Errorf(ErrUsage, "lifetime %s is over the %s that policy allows a token whose owner an identity provider knows", FormatDuration(asked), FormatDuration(limit)).
		WithHint("ask for less, or let a sysadmin change it: tokenctl admin policy set federated_token_lifetime")
}

// A PolicyField is one named setting of a [Policy], in the text form that
// commands and the wire use.
type PolicyField struct {
	Name string
	Doc  string
	Get  func(*Policy) string
	Set  func(*Policy, string) error
}

// PolicyFields are all settings of a policy, by name.
func PolicyFields() []PolicyField {
	return []PolicyField{
		duration("access_token_max_lifetime", "longest life of an access token", false, func(p *Policy) *time.Duration { return &p.AccessTokenMaxLifetime }),
		duration("directory_memory", "how long the last answer of a directory that does not answer may be believed", false, func(p *Policy) *time.Duration { return &p.DirectoryMemory }),
		{
			"directory_unreachable", "exchanges while a directory does not answer: refuse or last_known", func(p *Policy) string { return string(p.DirectoryUnreachable) },
			func(p *Policy, s string) error {
				if u := Unreachable(s); u != Refuse && u != LastKnown {
					return Errorf(ErrUsage, "directory_unreachable %q is not refuse or last_known", s)
				}
				p.DirectoryUnreachable = Unreachable(s)
				return nil
			},
		},
		duration("federated_token_lifetime", "longest life of a token of an owner whom only a provider knows, and of roles it gave", false, func(p *Policy) *time.Duration { return &p.FederatedTokenLifetime }),
		{
			"issuer", "the iss of access tokens, an absolute URI", func(p *Policy) string { return p.Issuer },
			func(p *Policy, s string) error {
				// RFC 8414 §2: no query and no fragment.
				if !isAbsoluteURI(s) || strings.Contains(s, "?") || len(s) > maxText {
					return Errorf(ErrUsage, "issuer %q is not an absolute URI without query and fragment", s).WithHint("for example https://tokens.example.org")
				}
				p.Issuer = s
				return nil
			},
		},
		{
			"lockout", "wrong old passwords in a row that leave an account as it is, the next one disables it: 1 to 100", func(p *Policy) string { return strconv.Itoa(p.Lockout) },
			func(p *Policy, s string) error {
				n, err := strconv.Atoi(s)
				if err != nil || n < 1 || n > 100 {
					return Errorf(ErrUsage, "lockout %q is not a number from 1 to 100", s)
				}
				p.Lockout = n
				return nil
			},
		},
		{
			"purge_breaker", "owners of a realm, in percent, that may be gone before a purge is stopped: 0 to 100", func(p *Policy) string { return strconv.Itoa(p.PurgeBreaker) },
			func(p *Policy, s string) error {
				n, err := strconv.Atoi(s)
				if err != nil || n < 0 || n > 100 {
					return Errorf(ErrUsage, "purge_breaker %q is not a number from 0 to 100", s)
				}
				p.PurgeBreaker = n
				return nil
			},
		},
		duration("refresh_token_lifetime", "life of a refresh token that asks for none", false, func(p *Policy) *time.Duration { return &p.RefreshTokenLifetime }),
		duration("refresh_token_max_lifetime", "longest life of a refresh token", false, func(p *Policy) *time.Duration { return &p.RefreshTokenMaxLifetime }),
		{
			"refresh_tokens", "who may have refresh tokens: administrators or everyone", func(p *Policy) string { return string(p.RefreshTokens) },
			func(p *Policy, s string) error {
				if r := RefreshTokens(s); r != Administrators && r != Everyone {
					return Errorf(ErrUsage, "refresh_tokens %q is not administrators or everyone", s)
				}
				p.RefreshTokens = RefreshTokens(s)
				return nil
			},
		},
		duration("retention", "how long tombstones, expired tokens and the audit log are kept", false, func(p *Policy) *time.Duration { return &p.Retention }),
		duration("service_token_lifetime", "default and longest life of a service token", true, func(p *Policy) *time.Duration { return &p.ServiceTokenLifetime }),
		duration("user_token_lifetime", "default and longest life of a user token", true, func(p *Policy) *time.Duration { return &p.UserTokenLifetime }),
	}
}

// Unlimited is the text form of a lifetime without end, where one may be.
const Unlimited = "unlimited"

func duration(name, doc string, mayBeUnlimited bool, field func(*Policy) *time.Duration) PolicyField {
	return PolicyField{
		name, doc,
		func(p *Policy) string {
			if d := *field(p); d != 0 {
				return FormatDuration(d)
			}
			return Unlimited
		},
		func(p *Policy, s string) error {
			if s == Unlimited && mayBeUnlimited {
				*field(p) = 0
				return nil
			}
			d, err := ParseLifetime(s)
			if err != nil {
				return err
			}
			*field(p) = d
			return nil
		},
	}
}

// Set changes one setting by name.
func (p *Policy) Set(name, value string) error {
	for _, f := range PolicyFields() {
		if f.Name == name {
			return f.Set(p, value)
		}
	}
	return Errorf(ErrUsage, "unknown policy setting %q", name).WithHint("tokenctl admin policy show lists them")
}

// MinRetention keeps one command from erasing the trail of another.
const MinRetention = Day

// Check says what is wrong with the policy as a whole.
func (p *Policy) Check() error {
	if p.Retention < MinRetention {
		return Errorf(ErrUsage, "retention %s is under %s", FormatDuration(p.Retention), FormatDuration(MinRetention))
	}
	if p.RefreshTokenLifetime > p.RefreshTokenMaxLifetime {
		return Errorf(ErrUsage, "refresh_token_lifetime %s is over refresh_token_max_lifetime %s",
			FormatDuration(p.RefreshTokenLifetime), FormatDuration(p.RefreshTokenMaxLifetime))
	}
	return nil
}
