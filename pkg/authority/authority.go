// Package authority holds the rules of tokens and accounts: who may make,
// verify, exchange and end them. The rules are the concrete type [Local] over
// any store; everybody else sees a [Service] bound to one caller, or as little
// of it as they need, and cannot know where the tokens are.
package authority

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Service is everything that one caller may ask. All errors wrap one of the
// kinds of package token: ErrUsage for a request that makes no sense,
// ErrRefused for what the caller may not do, ErrNotFound, ErrConflict,
// ErrCannotTell when nobody can say, with [store.ErrOutcomeUnknown] in it when
// a change may or may not have happened. A change that fails with any other
// error has not happened.
type Service interface {
	Verifier
	Tokens
	Accounts
	Services
	Provisioning
	Connections
	Providers
	Settings
	Keys
	Log
	Storage
}

// Verifier answers "who is this?".
type Verifier interface {
	// Verify says whom a credential stands for. There are three outcomes:
	// an identity, an error that wraps token.ErrRefused (a [*Refusal], whose
	// text is the same for every reason), or one that wraps
	// token.ErrCannotTell. It changes nothing but, if the question counts as a
	// use, the time of the last use.
	Verify(ctx context.Context, p Presented) (token.Identity, error)
}

// Presented is a credential with the circumstances under which it is shown.
type Presented struct {
	// Credential is code:passcode, a passcode alone, a refresh token, or one of
	// our access tokens.
	Credential secret.Secret
	// Kinds are the kinds that are accepted; none: all.
	Kinds []token.Kind
	// Service is the one that the credential is shown to, and User the name that
	// goes with it: then only that service's password of that user is accepted.
	// A bare name is of the service's realm.
	Service string
	User    string
	// Connection is the one whose access tokens are accepted; empty: any.
	Connection string
	// Role must be borne, if it is set.
	Role token.Role
	// AskDirectory is set where rights are taken from the answer for long: the
	// owner's directory is asked whether they are still there, at most once a
	// minute.
	AskDirectory bool
	// CountsAsUse is set where a credential is put to use, not looked at.
	CountsAsUse bool
	// From is the address that shows it.
	From string
}

// Tokens makes, shows and ends tokens. The caller's own are meant where no
// owner is named; those of others need the role tokenctl:admin (reading:
// tokenctl:auditor), or stewardship of the service account that owns them.
type Tokens interface {
	// Generate makes a token. It fails with token.ErrConflict while a live one
	// holds its place: one user token per owner, one refresh token of a name, one
	// service token per owner and service, which spec.Replace ends.
	Generate(ctx context.Context, spec token.Spec) (Issued, error)
	// Get shows one token.
	Get(ctx context.Context, id token.ID) (token.Token, error)
	// List yields the chosen tokens in the order of their making, page by
	// page: the loop's body may use the service. Without an owner it yields
	// those of all owners. An error comes last, alone.
	List(ctx context.Context, s token.Selector) iter.Seq2[token.Token, error]
	// Rotate gives a token a new secret; its id stays.
	Rotate(ctx context.Context, ref token.Ref, r Rotation) (Issued, error)
	// TakeBack undoes the Generate or Rotate that brought a token to ref: for
	// secrets that could not be handed over. It works for ten minutes and only
	// while nothing else has changed the token.
	TakeBack(ctx context.Context, ref token.Ref) error
	// Revoke leaves tombstones with a reason. Revoking what is revoked changes
	// nothing and is no error. Revoke, Suspend, Resume and Delete take all of
	// the tokens or, with token.ErrConflict or any other error, none of them;
	// only work above the store's limit goes in batches.
	Revoke(ctx context.Context, refs []token.Ref, reason string) error
	// RevokeSecret revokes the token whose secret this is: having it is the
	// right to end it.
	RevokeSecret(ctx context.Context, s secret.Secret, reason string) (token.Token, error)
	// Suspend refuses tokens until a time, or (zero) until they are resumed.
	Suspend(ctx context.Context, refs []token.Ref, until time.Time) error
	// Resume ends a suspension.
	Resume(ctx context.Context, refs []token.Ref) error
	// Delete removes tokens; only the audit log remembers them.
	Delete(ctx context.Context, refs []token.Ref) error
	// Exchange makes an access token from a refresh token, from a JWT of an
	// identity provider or from another access token. It needs no right but
	// that.
	Exchange(ctx context.Context, r Exchange) (AccessToken, error)
	// Explain says why a credential is accepted or refused. Needs
	// tokenctl:auditor.
	Explain(ctx context.Context, s secret.Secret) (Explanation, error)
}

// Issued is a new secret with its token. The secret is not kept: nothing can
// show it again.
type Issued struct {
	Token  token.Token
	Secret secret.Secret // passcode, password or refresh token
}

// Rotation says how long the old secret goes on working.
type Rotation struct {
	Grace     time.Duration // 0: not at all
	UntilUsed bool          // only until the new one is first used
}

// Exchange asks for an access token.
type Exchange struct {
	RefreshToken secret.Secret
	// SubjectToken stands in the place of a refresh token (RFC 8693): a JWT of an
	// identity provider, or an access token of ours, which becomes a narrower one.
	SubjectToken secret.Secret
	Roles        []token.Role // nil: all that the token has, and the connection offers
	Resource     string       // RFC 8707: nothing but the token's own audience
	ClientID     string       // empty: the token's connection; of a provider's JWT: default
	// ClientSecret and ClientMethod are what the client shows of itself, as in
	// [ClientAuth]. It must be right whatever way the question comes: else a stolen
	// refresh token would need no client secret.
	ClientSecret secret.Secret
	ClientMethod token.AuthMethod
	From         string
}

// AccessToken is a signed JWT (RFC 9068) and what the answer of RFC 6749 §5.1
// says of it.
type AccessToken struct {
	// RefreshToken takes the place of the one that was shown, if its connection
	// rotates; else zero.
	RefreshToken secret.Secret
	Text         secret.Secret
	ExpiresIn    time.Duration
	Roles        []token.Role
}

// Explanation is what is known of a credential, for an administrator.
type Explanation struct {
	Accepted bool         `json:"accepted"`
	Reason   Reason       `json:"reason,omitempty"`
	Text     string       `json:"explanation"`
	Token    *token.Token `json:"-"`
}

// Accounts keeps the owners of tokens. Needs tokenctl:admin, reading
// tokenctl:auditor; everybody may see their own.
type Accounts interface {
	// AddAccount fails with token.ErrConflict if there is one.
	AddAccount(ctx context.Context, a token.Account) (token.Account, error)
	Account(ctx context.Context, o token.Owner) (token.Account, error)
	// ListAccounts yields accounts by realm and name; realm may be empty. With
	// after it begins behind that owner: the cursor of a list in pages.
	ListAccounts(ctx context.Context, realm string, after token.Owner) iter.Seq2[token.Account, error]
	// SetAccount changes display name, roles, kind, steward and whether it is
	// disabled. It fails with token.ErrConflict if a.Revision is not 0 and no
	// longer the account's.
	SetAccount(ctx context.Context, a token.Account) (token.Account, error)
	// DeleteAccount revokes the owner's tokens, then removes the account.
	DeleteAccount(ctx context.Context, o token.Owner) error
	// LinkIdentity has a subject of an identity provider be an account's owner,
	// beside those who are. It fails with token.ErrConflict if the subject stands
	// for another account.
	LinkIdentity(ctx context.Context, o token.Owner, provider, subject string) (token.Account, error)
	// UnlinkIdentity undoes that; provider may be an issuer, for one that is gone
	// or has another since. Access tokens that came of it are refused at
	// once; tokens stay.
	UnlinkIdentity(ctx context.Context, o token.Owner, provider, subject string) (token.Account, error)
	// SetPassword gives a local account a password; zero is the caller's own.
	// Whoever has one must show it: the eleventh wrong one in a row disables the
	// account. For others it needs tokenctl:admin, and no old one.
	SetPassword(ctx context.Context, o token.Owner, old, fresh secret.Secret) error
}

// Services keeps the applications that take service tokens. Needs
// tokenctl:admin; everybody may read.
type Services interface {
	AddService(ctx context.Context, s token.ServiceConfig) (token.ServiceConfig, error)
	Service(ctx context.Context, name string) (token.ServiceConfig, error)
	// ListServices yields them by name.
	ListServices(ctx context.Context) iter.Seq2[token.ServiceConfig, error]
	// SetService fails with token.ErrConflict if s.Revision is not 0 and no
	// longer the service's. Disabling refuses its tokens at once; of tokens that
	// exist the type stays, and what is provisioned follows for those whose
	// secret the new provisioners were given when it was made.
	SetService(ctx context.Context, s token.ServiceConfig) (token.ServiceConfig, error)
	// DeleteService fails with token.ErrConflict while it has live tokens.
	DeleteService(ctx context.Context, name string) error
}

// Provisioning tells how far other systems have been told of service tokens.
// The owner of a token may ask of it; all else needs tokenctl:auditor, Retry
// tokenctl:admin.
type Provisioning interface {
	// ListDeliveries yields what is known of tokens at provisioners, by token.
	ListDeliveries(ctx context.Context, f DeliveryFilter) iter.Seq2[Delivery, error]
	// RetryDeliveries has what is pending delivered now, and returns how many
	// that are.
	RetryDeliveries(ctx context.Context, f DeliveryFilter) (int, error)
	// Deliver waits until what is due of a token has been delivered, or has
	// failed once, and returns what is still pending.
	Deliver(ctx context.Context, id token.ID) ([]Delivery, error)
}

// DeliveryFilter chooses deliveries: those that agree with every field that is
// not zero.
type DeliveryFilter struct {
	Token       token.ID
	Owner       token.Owner
	Service     string
	Provisioner string
	Pending     bool
}

// Delivery is what is known of one token at one provisioner.
type Delivery struct {
	Token       token.ID
	Provisioner string
	Owner       token.Owner
	Service     string
	// Pending: the other system has not agreed yet to the last change.
	Pending  bool
	Event    string // names what is being delivered; empty: nothing is
	Attempts int    // that failed, since the last change
	LastTry  time.Time
	Error    string    // of the last attempt
	Due      time.Time // of the next attempt, or change by time; zero: none
	// AcknowledgedAt is when the other system agreed last; zero while pending.
	AcknowledgedAt time.Time
}

// Connections keeps the OAuth settings of tenants. Needs tokenctl:admin;
// everybody may read. A connection is shown without its client secret; what
// requests say of the secret does not count.
type Connections interface {
	AddConnection(ctx context.Context, c token.Connection) (token.Connection, error)
	Connection(ctx context.Context, name string) (token.Connection, error)
	ListConnections(ctx context.Context) iter.Seq2[token.Connection, error]
	// SetConnection fails with token.ErrConflict if c.Revision is not 0 and no
	// longer the connection's. Refresh tokens keep the audience they were made
	// with. Without AuthMethod it stays as it is; none drops the client secret.
	SetConnection(ctx context.Context, c token.Connection) (token.Connection, error)
	// RenewClientSecret gives a connection a new client secret at once, in the
	// place of the old one. It is not kept: nothing can show it again. Until it has
	// one, a connection whose clients need it refuses them all.
	RenewClientSecret(ctx context.Context, name string) (token.Connection, secret.Secret, error)
	// DeleteConnection fails with token.ErrConflict while live refresh tokens
	// belong to it.
	DeleteConnection(ctx context.Context, name string) error
}

// Providers keeps the identity providers whose JWTs are accepted beside our own
// tokens. Needs tokenctl:admin; everybody may read.
type Providers interface {
	// AddProvider fails with token.ErrConflict if its name is that of another, or
	// the realm of a directory or of accounts, or its issuer another's.
	AddProvider(ctx context.Context, p token.Provider) (token.Provider, error)
	Provider(ctx context.Context, name string) (token.Provider, error)
	// ListProviders yields them by name.
	ListProviders(ctx context.Context) iter.Seq2[token.Provider, error]
	// SetProvider fails with token.ErrConflict if p.Revision is not 0 and no
	// longer the provider's. Disabling refuses its JWTs, and the access tokens
	// that came of them, at once.
	SetProvider(ctx context.Context, p token.Provider) (token.Provider, error)
	// DeleteProvider fails with token.ErrConflict while there are accounts in the
	// realm of its name.
	DeleteProvider(ctx context.Context, name string) error
	// LoginProviders are those at which somebody can log in: their name, issuer,
	// client id and first audience. It needs no right, for it comes before.
	LoginProviders(ctx context.Context) ([]token.Provider, error)
	// ExplainJWT says what every check finds of a JWT of a provider, and whom it
	// stands for; nobody, if it is refused. Needs tokenctl:auditor.
	ExplainJWT(ctx context.Context, jwt secret.Secret) (JWTExplanation, error)
}

// JWTExplanation is the verdict on a JWT of a provider, for an administrator.
type JWTExplanation struct {
	Accepted bool
	// CannotTell: nothing stands against it, but the keys of its provider could
	// not be had.
	CannotTell bool
	Provider   string       // empty: of none that we know
	Owner      token.Owner  // whom it stands for, if it is accepted
	Roles      []token.Role // of the owner, with this JWT
	// Findings are of the checks in their order; the last one says whose it is.
	Findings []token.Finding
}

// Settings keeps the policy. Needs tokenctl:admin; everybody may read.
type Settings interface {
	Policy(ctx context.Context) (token.Policy, error)
	// SetPolicy changes settings by name, all or none.
	SetPolicy(ctx context.Context, settings map[string]string) (token.Policy, error)
	// WhoAmI is the caller, as rights are judged.
	WhoAmI(ctx context.Context) (token.Identity, error)
}

// Keys keeps the keys that sign access tokens and the numbered keys of the key
// file. Needs tokenctl:admin, listing them tokenctl:auditor; JWKS is for all.
type Keys interface {
	ListKeys(ctx context.Context) ([]Key, error)
	// RotateSigning takes the next signing key of an algorithm into use. The
	// old one verifies until its last token has expired.
	RotateSigning(ctx context.Context, a token.Algorithm) (Key, error)
	// RotateKeyFile adds a key to the key file and uses it from now on. What
	// was hashed or sealed with older ones stays readable.
	RotateKeyFile(ctx context.Context) (Key, error)
	// JWKS is the public keys as RFC 7517 §5 JSON.
	JWKS(ctx context.Context) ([]byte, error)
}

// Key is a signing key or a key of the key file, without its secret part.
type Key struct {
	Use       string          `json:"use"` // sign, or file
	ID        string          `json:"id"`  // RFC 7638 thumbprint, or number
	Algorithm token.Algorithm `json:"algorithm,omitempty"`
	State     string          `json:"state"` // next, active, retired
	CreatedAt time.Time       `json:"created_at"`
	ExpiresAt time.Time       `json:"expires_at,omitzero"` // when it is no longer published
}

// Log reads the audit log. Needs tokenctl:auditor.
type Log interface {
	ListAudit(ctx context.Context, f audit.Filter) iter.Seq2[audit.Entry, error]
	VerifyAudit(ctx context.Context) (audit.Report, error)
}

// Storage looks after the store itself. Needs tokenctl:auditor.
type Storage interface {
	// Stats counts what is in the store.
	Stats(ctx context.Context) (Stats, error)
	// Check reads the records of tokens; deep, also every index both ways and
	// the audit chain. What it finds wrong is in the report; an error says
	// that it could not look.
	Check(ctx context.Context, deep bool) (CheckReport, error)
	// Backup writes one consistent state of everything but the key file, for
	// [Restore]. It ends with a checksum: a part of it is not taken for the
	// whole. Needs tokenctl:admin, for whoever has it can go back in time.
	Backup(ctx context.Context, w io.Writer) error
}

// Stats is how much of what is in the store.
type Stats struct {
	Tokens      int            `json:"tokens"`
	ByKind      map[string]int `json:"by_kind"`
	ByStatus    map[string]int `json:"by_status"`
	ByRealm     map[string]int `json:"by_realm"`
	Accounts    int            `json:"accounts"`
	Connections int            `json:"connections"`
	AuditLength int            `json:"audit_entries"`
}

// CheckReport is what [Storage.Check] found.
type CheckReport struct {
	Tokens   int      `json:"tokens"`
	Indexes  int      `json:"index_entries"`
	Audit    int      `json:"audit_entries"`
	Problems []string `json:"problems"`
}

// Caller is who asks, as established before the rules are asked.
type Caller struct {
	Owner token.Owner
	// Via says how the caller was recognised: "uid 1000", "token <id>".
	Via string
	// From is the address that the caller asks from.
	From string
	// FileOwner is set for whoever may open the store's file: their rights come
	// from that, and their account is made on first use.
	FileOwner bool
	// Narrowed limits the rights to Roles, for a credential that has fewer
	// than its owner: what it makes has at most those.
	Narrowed bool
	Roles    []token.Role
	// Until, unless it is zero, ends what the caller makes: a credential makes
	// none that outlives what it was made from.
	Until time.Time
	// Client, if it is set, is the connection whose client asks: it ends no other's
	// tokens.
	Client string
	// Once, if it is set, makes this caller's next creating request harmless
	// to repeat.
	Once *Once
}
