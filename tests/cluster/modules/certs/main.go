// Command certs writes the keys and certificates of a test cluster into a folder: one authority, the API server's
// certificate, a client certificate per identity, and the key pair that signs service account tokens.
//
//	certs DIR API-SERVER-NAMES CLIENT=COMMON-NAME[/ORGANIZATION]...
//
// API-SERVER-NAMES are host names and addresses, separated by commas. All of it is valid for a week: a cluster is
// started in seconds and thrown away.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const lifetime = 7 * 24 * time.Hour

type authority struct {
	dir         string
	certificate *x509.Certificate
	key         crypto.Signer
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: certs DIR API-SERVER-NAMES CLIENT=COMMON-NAME[/ORGANIZATION]...")
		os.Exit(64)
	}
	if err := write(os.Args[1], strings.Split(os.Args[2], ","), os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "certs:", err)
		os.Exit(1)
	}
}

func write(dir string, names, clients []string) error {
	ca := &authority{dir: dir}
	if err := ca.issue("ca", &x509.Certificate{
		Subject:               pkix.Name{CommonName: "fractune test cluster"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}); err != nil {
		return err
	}
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, name)
		}
	}
	if err := ca.issue("apiserver", server); err != nil {
		return err
	}
	for _, client := range clients {
		file, identity, found := strings.Cut(client, "=")
		if !found {
			return fmt.Errorf("client %q: write CLIENT=COMMON-NAME[/ORGANIZATION]", client)
		}
		user, group, grouped := strings.Cut(identity, "/")
		subject := pkix.Name{CommonName: user}
		if grouped {
			subject.Organization = []string{group}
		}
		if err := ca.issue(file, &x509.Certificate{
			Subject:     subject,
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}); err != nil {
			return err
		}
	}
	return serviceAccountKeys(dir)
}

// issue makes a key and a certificate for it, and writes NAME.key and NAME.crt. The first one becomes the authority
// that signs all others.
func (ca *authority) issue(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return err
	}
	// A clock that is corrected during a boot must not make them invalid.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(lifetime)
	parent, signer := ca.certificate, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if ca.certificate == nil {
		if ca.certificate, err = x509.ParseCertificate(der); err != nil {
			return err
		}
		ca.key = key
	}
	if err := writePEM(filepath.Join(ca.dir, name+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(ca.dir, name+".key"), key)
}

func serviceAccountKeys(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "sa.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, "sa.key"), key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	// The form that Kubernetes reads for service account keys, and everything else, too.
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
