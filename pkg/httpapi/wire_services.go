package httpapi

import (
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// wireService is an application for which service tokens can be had.
type wireService struct {
	Name         string              `json:"name"`
	DisplayName  orNull[string]      `json:"display_name"`
	Status       string              `json:"status"` // enabled or disabled
	TokenType    token.TokenType     `json:"token_type"`
	Realm        string              `json:"realm"`
	Provisioners orEmpty[string]     `json:"provisioners"`
	CreatedAt    orNull[time.Time]   `json:"created_at"`
	CreatedBy    orNull[token.Owner] `json:"created_by"`
	Revision     uint64              `json:"revision"`
}

var services = named[token.ServiceConfig, wireService]{
	what: "service", plural: "services", naming: byName, name: func(s token.ServiceConfig) string { return s.Name },
	toWire: toWireService, fromWire: (*wireService).service, whole: (*wireService).whole, fresh: token.NewService,
	list: authority.Service.ListServices, get: authority.Service.Service,
	add: authority.Service.AddService, set: authority.Service.SetService, remove: authority.Service.DeleteService,
}

// The states of a service.
const (
	serviceEnabled  = "enabled"
	serviceDisabled = "disabled"
)

func toWireService(s token.ServiceConfig) wireService {
	w := wireService{
		Name: s.Name, DisplayName: some(s.DisplayName), Status: serviceDisabled, TokenType: s.TokenType, Realm: s.Realm,
		Provisioners: s.Provisioners, CreatedAt: some(s.CreatedAt), CreatedBy: some(s.CreatedBy), Revision: s.Revision,
	}
	if s.Enabled {
		w.Status = serviceEnabled
	}
	return w
}

func (w *wireService) service() (token.ServiceConfig, error) {
	if w.Status != serviceEnabled && w.Status != serviceDisabled {
		return token.ServiceConfig{}, token.Errorf(token.ErrUsage, "status %q is not enabled or disabled", w.Status)
	}
	return token.ServiceConfig{
		Name: w.Name, DisplayName: w.DisplayName.v, Enabled: w.Status == serviceEnabled, TokenType: w.TokenType, Realm: w.Realm,
		Provisioners: w.Provisioners.items(), CreatedAt: w.CreatedAt.v, CreatedBy: w.CreatedBy.v, Revision: w.Revision,
	}, nil
}

func (w *wireService) whole() bool { return w.Name != "" && w.Revision > 0 }

// wireDelivery is what is known of a token at a provisioner.
type wireDelivery struct {
	Token          token.ID          `json:"token"`
	Provisioner    string            `json:"provisioner"`
	Owner          token.Owner       `json:"owner"`
	Service        string            `json:"service"`
	Status         string            `json:"status"` // pending or delivered
	Event          orNull[string]    `json:"event"`
	Attempts       int               `json:"attempts"`
	LastTry        orNull[time.Time] `json:"last_try"`
	Error          orNull[string]    `json:"error"`
	Due            orNull[time.Time] `json:"due"`
	AcknowledgedAt orNull[time.Time] `json:"acknowledged_at"`
}

// The states of a delivery.
const (
	deliveryPending   = "pending"
	deliveryDelivered = "delivered"
)

func toWireDelivery(d authority.Delivery) wireDelivery {
	w := wireDelivery{
		Token: d.Token, Provisioner: d.Provisioner, Owner: d.Owner, Service: d.Service, Status: deliveryDelivered,
		Event: some(d.Event), Attempts: d.Attempts, LastTry: some(d.LastTry), Error: some(d.Error), Due: some(d.Due),
		AcknowledgedAt: some(d.AcknowledgedAt),
	}
	if d.Pending {
		w.Status = deliveryPending
	}
	return w
}

func (w *wireDelivery) delivery() authority.Delivery {
	return authority.Delivery{
		Token: w.Token, Provisioner: w.Provisioner, Owner: w.Owner, Service: w.Service, Pending: w.Status == deliveryPending,
		Event: w.Event.v, Attempts: w.Attempts, LastTry: w.LastTry.v, Error: w.Error.v, Due: w.Due.v, AcknowledgedAt: w.AcknowledgedAt.v,
	}
}

func (w *wireDelivery) whole() bool {
	return !w.Token.IsZero() && w.Provisioner != "" && (w.Status == deliveryPending || w.Status == deliveryDelivered)
}

// wirePending is what other systems have not agreed to yet, of one token.
type wirePending struct {
	Pending []wireDelivery `json:"pending"`
}

// wireRetried is how many deliveries are tried again.
type wireRetried struct {
	Retried *int `json:"retried"`
}
