//! What a successor finds: a second mapping of the same memfd, as another process has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use carafe_state::record::NO_PAGE;
use carafe_state::{
    Config, ExtentRecord, HandleRecord, IdKind, JournalRecord, Region, SlotState, peek,
};
use proptest::prelude::*;

const PATIENCE: Duration = Duration::from_secs(1);

fn small() -> Config {
    Config {
        big_slots: 4,
        max_write: 64 << 10,
        small_slots: 8,
        small_slot_len: 4096,
        handles: 64,
        extents: 256,
        pool_pages: 32,
        page_size: 4096,
    }
}

fn successor(region: &Region) -> Region {
    let fd: OwnedFd = region.fd().try_clone_to_owned().unwrap();
    Region::attach(fd).unwrap()
}

/// A request as the kernel writes it, with `len` bytes in all.
fn request(len: usize, unique: u64) -> Vec<u8> {
    let mut bytes = vec![7; len];
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&unique.to_le_bytes());
    bytes
}

fn receive(region: &Region, clone: u32, bytes: &[u8]) -> carafe_state::Request {
    let mut slot = region.slots().take_for_read(clone, PATIENCE).unwrap();
    slot.buffer()[..bytes.len()].copy_from_slice(bytes);
    region.slots().accept(slot, bytes.len()).0
}

#[test]
fn requests_not_answered_are_found_with_their_data() {
    let region = Region::create(small()).unwrap();
    let answered = receive(&region, 0, &request(100, 4));
    let waiting = receive(&region, 1, &request(200, 6));
    let big = receive(&region, 2, &request(50_000, 2));
    let record = JournalRecord {
        operation: 9,
        id0: 77,
        ..JournalRecord::default()
    };
    big.begin(record);
    answered.answered();
    drop(answered);

    let found = successor(&region).recover_requests();
    assert_eq!(found.len(), 2, "the answered one is gone");
    assert_eq!(
        found[0].bytes(),
        big.bytes(),
        "in the order of their uniques"
    );
    assert_eq!(found[0].state(), SlotState::Begun);
    assert_eq!(
        found[0].journal().map(|j| (j.operation, j.id0)),
        Some((9, 77))
    );
    assert_eq!(found[1].bytes(), waiting.bytes());
    assert_eq!(found[1].clone_index(), 1, "the reply must go to its clone");
    assert_eq!(found[1].journal(), None);
}

#[test]
fn a_request_in_a_slot_that_was_being_read_is_found() {
    let region = Region::create(small()).unwrap();
    let mut delivered = region.slots().take_for_read(3, PATIENCE).unwrap();
    let _idle = region.slots().take_for_read(0, PATIENCE).unwrap();
    let bytes = request(300, 8);
    delivered.buffer()[..300].copy_from_slice(&bytes);

    let found = successor(&region).recover_requests();
    assert_eq!(found.len(), 1, "killed between read(2) and accept");
    assert_eq!(found[0].bytes(), bytes);
    assert_eq!(found[0].clone_index(), 3);
}

#[test]
fn slots_are_used_again_when_the_last_view_is_gone() {
    let region = Region::create(small()).unwrap();
    let requests: Vec<_> = (1..=4)
        .map(|unique| receive(&region, 0, &request(60_000, unique)))
        .collect();
    let none = region.slots().take_for_read(0, Duration::from_millis(1));
    assert!(none.is_none(), "four big slots are held");
    let view = requests[0].slice(100..200);
    requests[0].answered();
    drop(requests);
    let none = region.slots().take_for_read(0, Duration::from_millis(1));
    assert!(
        none.is_none(),
        "three are unanswered, one is being looked at"
    );
    assert_eq!(view[..], [7; 100]);
    drop(view);
    assert!(region.slots().take_for_read(0, PATIENCE).is_some());
}

#[test]
fn acknowledged_bytes_are_found() {
    let region = Region::create(small()).unwrap();
    let mut page = region.pool().try_alloc().unwrap();
    page.write(100, b"acknowledged").unwrap();
    let record = ExtentRecord {
        inode: 5,
        position: 1000,
        len: 12,
        page_offset: 100,
        ..ExtentRecord::default()
    };
    let mut extent = page.publish(record).unwrap();
    let mut gone = region.pool().try_alloc().unwrap();
    gone.write(0, b"committed").unwrap();
    drop(gone.publish(record).unwrap());
    extent.update(|record| record.slice = 42);

    let heir = successor(&region);
    let recovery = heir.recover();
    assert_eq!((recovery.torn, recovery.pages.len()), (0, 1));
    let found = &recovery.pages[0];
    assert_eq!(found.extents[0].record().slice, 42);
    let bytes = found.page.as_ref().unwrap().as_slice(100..112);
    assert_eq!(bytes, b"acknowledged");
    assert_eq!(heir.pool().available(), 31, "its page is in use");
    drop(recovery);
    assert_eq!(heir.pool().available(), 32);
    assert!(successor(&region).recover().pages.is_empty(), "retired");
}

#[test]
fn uploaded_bytes_need_no_page_but_keep_their_record() {
    let region = Region::create(small()).unwrap();
    let page = region.pool().try_alloc().unwrap();
    let mut extent = page.publish(ExtentRecord::default()).unwrap();
    drop(page);
    assert_eq!(region.pool().available(), 31, "the extent holds the page");
    extent.uploaded();
    assert_eq!(region.pool().available(), 32);
    let recovery = successor(&region).recover();
    assert_eq!(recovery.pages[0].extents[0].record().page, NO_PAGE);
    recovery.leave();
    assert_eq!(
        successor(&region).recover().pages.len(),
        1,
        "left for another"
    );
}

#[test]
fn what_nobody_recovered_stays() {
    let region = Region::create(small()).unwrap();
    let record = HandleRecord {
        handle: 3,
        inode: 9,
        ..HandleRecord::default()
    };
    let _entry = region.handles().insert(&record).unwrap();
    drop(successor(&region));
    let found = successor(&region).recover().handles;
    assert_eq!(found.iter().map(|(_, r)| *r).collect::<Vec<_>>(), [record]);
}

#[test]
fn session_init_ids_and_heartbeat_live_on() {
    let region = Region::create(small()).unwrap();
    assert_eq!(region.init(), None);
    region.set_init(b"init result").unwrap();
    region.set_session(17);
    region.ids().refill(IdKind::Inode, 100..200);
    assert_eq!(region.ids().take(IdKind::Inode), Some(100));
    region.beat();
    let heir = successor(&region);
    assert_eq!(heir.init().as_deref(), Some(&b"init result"[..]));
    assert_eq!(heir.session(), 17);
    assert_eq!(heir.ids().take(IdKind::Inode), Some(101));
    assert_eq!(heir.ids().take(IdKind::Slice), None);
    let header = peek(region.fd()).unwrap();
    assert_eq!((header.session, header.beats), (17, 1));
    assert!(header.beat_at > 0);
}

#[test]
fn other_files_are_refused() {
    let memfd = rustix::fs::memfd_create(c"other", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memfd, 1 << 20).unwrap();
    let error = Region::attach(memfd.try_clone().unwrap()).unwrap_err();
    assert!(error.to_string().contains("not sealed"), "{error}");
    rustix::fs::fcntl_add_seals(&memfd, rustix::fs::SealFlags::SHRINK).unwrap();
    let error = Region::attach(memfd).unwrap_err();
    assert!(error.to_string().contains("magic"), "{error}");
}

#[test]
fn pages_that_are_read_are_not_overwritten() {
    let region = Region::create(small()).unwrap();
    let mut page = region.pool().try_alloc().unwrap();
    page.write(0, b"one").unwrap();
    let view = page.view(0..3);
    assert!(page.write(2, b"x").is_err());
    page.write(3, b"two").unwrap();
    let longer = page.view(0..6);
    drop(view);
    assert!(page.write(3, b"x").is_err());
    assert_eq!(&longer[..], b"onetwo");
    drop(longer);
    page.write(0, b"ONE").unwrap();
    assert_eq!(page.as_slice(0..6), b"ONEtwo");
}

#[tokio::test]
async fn waiters_get_pages_in_their_order() {
    let region = Region::create(small()).unwrap();
    let pool = region.pool().clone();
    let mut pages: Vec<_> = std::iter::from_fn(|| pool.try_alloc()).collect();
    assert_eq!(pages.len(), pool.capacity());
    let soon = Instant::now() + Duration::from_millis(20);
    assert!(pool.alloc(soon).await.is_err(), "bounded");
    let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..4 {
        let (pool, done) = (pool.clone(), done.clone());
        tokio::spawn(async move {
            let page = pool
                .alloc(Instant::now() + Duration::from_secs(5))
                .await
                .unwrap();
            done.send((number, page)).unwrap();
        });
        tokio::task::yield_now().await;
    }
    for number in 0..4 {
        drop(pages.pop());
        assert_eq!(order.recv().await.unwrap().0, number);
    }
}

fn resident(region: &Region) -> u64 {
    rustix::fs::fstat(region.fd()).unwrap().st_blocks as u64 * 512
}

#[test]
fn idle_memory_is_given_back() {
    let region = Region::create(Config::default()).unwrap();
    let pool = region.pool();
    let pages: Vec<_> = std::iter::from_fn(|| pool.try_alloc()).take(512).collect();
    assert!(resident(&region) >= 32 << 20, "populated");
    drop(pages);
    region.trim();
    assert!(
        resident(&region) < 2 << 20,
        "{} bytes stay",
        resident(&region)
    );
    let mut page = pool.try_alloc().unwrap();
    page.write(0, &vec![1; 65_536]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any sequence of publishing, changing, uploading and retiring leaves exactly the
    /// living extents for a successor, with their bytes.
    #[test]
    fn a_successor_finds_exactly_what_lives(steps in prop::collection::vec((0..4_u8, any::<u64>()), 1..80)) {
        let region = Region::create(small()).unwrap();
        let mut live = Vec::new();
        for (step, number) in steps {
            let which = (number as usize).checked_rem(live.len()).unwrap_or(0);
            match step {
                0 => {
                    let Some(mut page) = region.pool().try_alloc() else { continue };
                    page.write(0, &number.to_le_bytes()).unwrap();
                    let record = ExtentRecord { inode: number, len: 8, ..Default::default() };
                    live.push((page.publish(record).unwrap(), number));
                }
                1 if !live.is_empty() => live[which].0.update(|record| record.slice = number),
                2 if !live.is_empty() => live[which].0.uploaded(),
                3 if !live.is_empty() => drop(live.swap_remove(which)),
                _ => {}
            }
        }
        let mut expected: Vec<_> = live.iter().map(|(extent, _)| *extent.record()).collect();
        let recovery = successor(&region).recover();
        prop_assert_eq!(recovery.torn, 0);
        let mut found = Vec::new();
        for page in &recovery.pages {
            for extent in &page.extents {
                let record = *extent.record();
                if let Some(page) = &page.page {
                    prop_assert_eq!(page.as_slice(0..8), &record.inode.to_le_bytes()[..]);
                }
                found.push(record);
            }
        }
        let key = |record: &ExtentRecord| (record.inode, record.page, record.slice);
        expected.sort_by_key(key);
        found.sort_by_key(key);
        prop_assert_eq!(found, expected);
        recovery.leave();
    }
}

#[test]
fn many_threads_get_every_page_and_no_refusal_before_the_last() {
    for _ in 0..20 {
        let region = Region::create(small()).unwrap();
        let pool = region.pool();
        let pages = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| [(); 4].map(|()| pool.try_alloc())))
                .collect();
            let taken = workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap());
            taken.collect::<Vec<_>>()
        });
        assert!(pages.iter().all(Option::is_some), "32 pages for 32 who ask");
        assert!(pool.try_alloc().is_none());
    }
}
