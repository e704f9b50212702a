//! Which versions and ciphers of TLS a listener offers, by name.
//!
//! Every policy is a part of what there is: TLS 1.2 and 1.3, an ephemeral key exchange, a cipher that
//! authenticates. What else the owner of a name offers under it is told, and left out.

/// A version of TLS that can be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// As in `min_version = "…"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        }
    }
}

/// A named set of versions and ciphers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// TLS 1.2 and 1.3: Mozilla's guideline of this name, without finite-field Diffie-Hellman.
    #[default]
    Intermediate,
    /// TLS 1.3 only: Mozilla's guideline of this name.
    Modern,
    /// TLS 1.2 only, AES-GCM.
    Elb2017,
    /// TLS 1.2 and 1.3; of 1.2 AES-GCM.
    Elb2021,
    /// The same; nothing of it has to be left out.
    Elb2021Restricted,
}

/// Every policy.
pub const ALL_POLICIES: [Policy; 5] = [
    Policy::Intermediate,
    Policy::Modern,
    Policy::Elb2017,
    Policy::Elb2021,
    Policy::Elb2021Restricted,
];

impl Policy {
    /// As in `policy = "…"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Intermediate => "intermediate",
            Policy::Modern => "modern",
            Policy::Elb2017 => "ELBSecurityPolicy-TLS-1-2-2017-01",
            Policy::Elb2021 => "ELBSecurityPolicy-TLS13-1-2-2021-06",
            Policy::Elb2021Restricted => "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
        }
    }

    /// The lowest and the highest version.
    pub fn versions(self) -> [Version; 2] {
        match self {
            Policy::Intermediate | Policy::Elb2021 | Policy::Elb2021Restricted => {
                [Version::Tls12, Version::Tls13]
            }
            Policy::Modern => [Version::Tls13; 2],
            Policy::Elb2017 => [Version::Tls12; 2],
        }
    }

    /// Whether ChaCha20 is offered for TLS 1.2, too.
    pub fn has_chacha_for_tls12(self) -> bool {
        self == Policy::Intermediate
    }

    /// What AWS offers under this name and nobody gets here: CBC, whose padding is an oracle, and RSA
    /// key transport, which keeps no secret once the key is known. By OpenSSL's names.
    pub fn left_out(self) -> &'static [&'static str] {
        match self {
            Policy::Intermediate | Policy::Modern | Policy::Elb2021Restricted => &[],
            Policy::Elb2021 => &CBC,
            Policy::Elb2017 => &CBC_AND_KEY_TRANSPORT,
        }
    }
}

const CBC: [&str; 4] = [
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
];

const CBC_AND_KEY_TRANSPORT: [&str; 8] = [
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
    "AES128-GCM-SHA256",
    "AES128-SHA256",
    "AES256-GCM-SHA384",
    "AES256-SHA256",
];
