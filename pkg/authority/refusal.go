package authority

import (
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// ErrOutcomeUnknown is wrapped by an error after which nobody can say whether
// the change has happened: look before you try again. It wraps
// token.ErrCannotTell.
var ErrOutcomeUnknown = store.ErrOutcomeUnknown

var errNoSigningKey = token.Errorf(token.ErrCannotTell, "there is no key to sign access tokens with")

// Reason is why a credential was refused. It is for the log and for
// administrators; a stranger sees the same answer for all of them.
type Reason string

// The reasons.
const (
	Malformed       Reason = "malformed"
	UnknownToken    Reason = "unknown"
	WrongSecret     Reason = "wrong_secret"
	TokenExpired    Reason = "expired"
	TokenRevoked    Reason = "revoked"
	TokenSuspended  Reason = "suspended"
	OwnerDisabled   Reason = "owner_disabled"
	OwnerGone       Reason = "owner_gone"
	WrongKind       Reason = "wrong_kind"
	WrongSignature  Reason = "wrong_signature"
	WrongIssuer     Reason = "wrong_issuer"
	WrongConnection Reason = "wrong_connection"
	MissingRole     Reason = "missing_role"
	TokenReused     Reason = "reused"
	ServiceOff      Reason = "service_off"
	WrongService    Reason = "wrong_service"
	// Of JWTs of identity providers.
	WrongJWT        Reason = "wrong_jwt"
	UnlinkedSubject Reason = "unlinked_subject"
	ProviderOff     Reason = "provider_off"

	// Of a client, in what wraps ErrInvalidClient.
	UnknownClient     Reason = "unknown_client"
	WrongClientSecret Reason = "wrong_client_secret" // or it has none, or showed none
	WrongClientMethod Reason = "wrong_client_method" // such as a secret of a public client
)

// Refusal is the error for a credential that is not accepted. Its text is the
// same for every reason, so that it can go to whoever showed the credential.
type Refusal struct {
	Reason Reason
	Token  token.ID // zero when no token is meant
	why    string   // what a directory or a provider said, for the log
}

func (r *Refusal) Error() string { return "credential not accepted" }

// Unwrap makes [errors.Is] find token.ErrRefused, and token.ErrMalformed.
func (r *Refusal) Unwrap() error {
	if r.Reason == Malformed {
		return token.ErrMalformed
	}
	return token.ErrRefused
}
