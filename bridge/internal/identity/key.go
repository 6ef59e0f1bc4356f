package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// KeyBytes is the length of the key in a key file.
const KeyBytes = 32

// Key seals what is stored encrypted.
type Key struct{ aead cipher.AEAD }

// ReadKey reads a key file: 32 random bytes in base64.
func ReadKey(file string) (*Key, error) {
	if file == "" {
		return nil, errors.New("keyFile: is not set. It seals what the bridges keep in the database. Make one with \"fairlead-bridge key create FILE\", give it to every bridge of this install, and set keyFile: FILE")
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keyFile: %s does not exist. Make it with \"fairlead-bridge key create %s\", or copy it from another bridge of this install", file, file)
	}
	if err != nil {
		return nil, fmt.Errorf("keyFile: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != KeyBytes {
		return nil, fmt.Errorf("keyFile: %s does not hold %d bytes in base64, as \"fairlead-bridge key create\" writes them", file, KeyBytes)
	}
	return newKey(key)
}

// CreateKey makes a key file that only its owner can read. It never replaces one: what an old key sealed would be lost.
func CreateKey(file string) error {
	key := make([]byte, KeyBytes)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and stays as it is: what it sealed could not be read with a new key", file)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

func newKey(key []byte) (*Key, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Key{aead: aead}, nil
}

// sealVersion begins everything sealed: AES-256-GCM, then a nonce of 12 bytes.
const sealVersion = 1

// ErrWrongKey says that something was sealed with another key, or changed since.
var ErrWrongKey = errors.New("sealed with another key")

// Seal encrypts a secret. It opens only under the same name.
func (k *Key) Seal(name string, secret []byte) ([]byte, error) {
	out := make([]byte, 1+k.aead.NonceSize(), 1+k.aead.NonceSize()+len(secret)+k.aead.Overhead())
	out[0] = sealVersion
	if _, err := rand.Read(out[1:]); err != nil {
		return nil, err
	}
	return k.aead.Seal(out, out[1:], secret, []byte(name)), nil
}

// Open decrypts what Seal made. It returns ErrWrongKey when the key does not fit.
func (k *Key) Open(name string, sealed []byte) ([]byte, error) {
	start := 1 + k.aead.NonceSize()
	if len(sealed) < start || sealed[0] != sealVersion {
		return nil, fmt.Errorf("%s is sealed in a way that this version does not know", name)
	}
	secret, err := k.aead.Open(nil, sealed[1:start], sealed[start:], []byte(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, ErrWrongKey)
	}
	return secret, nil
}
